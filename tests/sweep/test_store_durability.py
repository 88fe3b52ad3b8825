"""What the store has promised is on the disk, not only with the operating system."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from convbench.records import Record
from convbench.sweeps.store import Store


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of files as they were synchronised; -1 for a folder."""
    sizes: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        sizes.append(-1 if stat.S_ISDIR(status.st_mode) else status.st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return sizes


def test_a_case_is_on_disk_when_append_returns(tmp_path: Path, synced: list[int]) -> None:
    path = tmp_path / "s.jsonl"
    with Store(path) as store:
        assert synced == [-1]  # the name of the new file
        for number in range(3):
            store.append(f"key{number}", Record("MRFA", params=number), {}, {"torch": "2"}, 0.1)
            assert synced[-1] == path.stat().st_size
    assert len(synced) == 1 + 1 + 3  # the environment has a line of its own


def test_a_torn_line_is_cut_off_on_disk_too(tmp_path: Path, synced: list[int]) -> None:
    path = tmp_path / "s.jsonl"
    with Store(path) as store:
        store.append("key", Record("MRFA", params=1), {}, None, 0.1)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"key": "torn", "rec')
    synced.clear()
    with Store(path) as store:
        assert list(store.contents.entries) == ["key"]
    assert synced == [whole]
