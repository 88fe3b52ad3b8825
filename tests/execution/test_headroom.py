"""What memory is left, by the limits of the process's own control groups, and whether one more target fits."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from convbench.execution.headroom import Headroom, available_bytes, budget_bytes


@pytest.mark.parametrize(("left", "fits"), [(150, True), (149, False)])
def test_half_as_much_again_as_the_largest_so_far_must_be_left(left: int, fits: bool) -> None:
    taken = iter([1000, 1100, 1130])
    headroom = Headroom(left=lambda: left, taken=lambda: next(taken))
    headroom.settle()
    headroom.settle()
    assert headroom.fits_another == fits


def process(folder: Path, *lines: str) -> Path:
    place = folder / "process"
    place.mkdir()
    (place / "cgroup").write_text("".join(f"{line}\n" for line in lines))
    return place


def group(folder: Path, limit: str, used: int, cache: int = 0, version: int = 2) -> None:
    """A control group with a limit, what it uses, and how much of that is cache."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\nfile 7\n{key} {cache}\n")


def test_a_control_group_bounds_what_is_available(tmp_path: Path) -> None:
    own = process(tmp_path, "0::/")
    group(tmp_path / "groups", "1000000", 400_000, 100_000)
    assert available_bytes(tmp_path / "groups", own) == 700_000
    assert budget_bytes(tmp_path / "groups", own) == 560_000


def test_the_tightest_of_a_group_and_those_around_it_bounds(tmp_path: Path) -> None:
    groups, own = tmp_path / "groups", process(tmp_path, "0::/user/job/step")
    group(groups, "max", 0)
    group(groups / "user", "5000000", 4_500_000)
    group(groups / "user/job", "2000000", 100_000)
    group(groups / "user/job/step", "max", 100_000)
    group(groups / "other", "1000", 0)
    assert available_bytes(groups, own) == 500_000


def test_a_first_version_group_is_found_at_the_processs_own_path(tmp_path: Path) -> None:
    groups, own = tmp_path / "groups", process(tmp_path, "9:cpu,cpuacct:/x", "4:memory:/docker/abc", "1:name=systemd:/")
    group(groups / "memory/docker/abc", "900000", 300_000, 50_000, version=1)
    group(groups / "memory", "9223372036854771712", 10**9, version=1)
    assert available_bytes(groups, own) == 650_000


def test_a_containers_own_root_stands_for_a_path_that_is_not_mounted(tmp_path: Path) -> None:
    groups, own = tmp_path / "groups", process(tmp_path, "4:memory:/kubepods/pod1/abc", "0::/kubepods/pod1/abc")
    group(groups / "memory", "600000", 300_000, version=1)
    assert available_bytes(groups, own) == 300_000


def test_a_group_that_uses_more_than_its_limit_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "groups", "500", 900)
    assert available_bytes(tmp_path / "groups", process(tmp_path, "0::/")) == 0


def test_without_limits_the_machine_bounds(tmp_path: Path) -> None:
    group(tmp_path / "groups", "max", 400_000)
    for groups, own in ((tmp_path / "groups", process(tmp_path, "0::/")), (tmp_path / "none", tmp_path / "none")):
        assert 10_000_000 < available_bytes(groups, own) <= psutil.virtual_memory().total
