"""Whether memory has room for one more target."""

from __future__ import annotations

from pathlib import Path

import pytest

from convbench.execution.headroom import Room, available_bytes


@pytest.mark.parametrize(("left", "fits"), [(150, True), (149, False)])
def test_half_as_much_again_as_the_largest_so_far_must_be_left(left: int, fits: bool) -> None:
    taken = iter([1000, 1100, 1130])
    room = Room(left=lambda: left, taken=lambda: next(taken))
    room.settle()
    room.settle()
    assert room.fits_another == fits


def group(folder: Path, limit: str, current: int, inactive: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile 7\ninactive_file {inactive}\n")
    return folder


def test_a_control_group_bounds_what_is_available(tmp_path: Path) -> None:
    assert available_bytes(group(tmp_path, "1000000", 400_000, 100_000)) == 700_000


def test_an_unlimited_group_does_not(tmp_path: Path) -> None:
    assert available_bytes(group(tmp_path, "max", 400_000, 0)) > 10_000_000


def test_no_group_at_all(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) > 10_000_000
