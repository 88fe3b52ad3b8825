"""Files put in their place: links, modes, owners, devices, and what cannot be written."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from convbench.errors import OutputError
from convbench.report.io.files import check_writable, write_atomically

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture(autouse=True)
def _umask() -> None:
    os.umask(0o022)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new.csv", "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new.csv") == 0o640


@pytest.mark.parametrize("given", [0o600, 0o640, 0o666, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, given: int) -> None:
    path = tmp_path / "old.csv"
    path.touch()
    path.chmod(given)
    write_atomically(path, "x")
    assert (mode(path), path.read_text()) == (given, "x")


@as_root
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.touch()
    os.chown(path, 1234, 2345)
    write_atomically(path, "x")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real, first, second = folder / "real.csv", tmp_path / "first.csv", tmp_path / "second.csv"
    if exists:
        real.touch(0o600)
    first.symlink_to("elsewhere/real.csv")
    second.symlink_to(first)
    check_writable(second)
    write_atomically(second, "x")
    assert first.is_symlink()
    assert second.is_symlink()
    assert real.read_text() == "x"
    assert mode(real) == (0o600 if exists else 0o644)
    assert [path.name for path in folder.iterdir()] == ["real.csv"]


def test_a_file_of_two_names_keeps_both(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("longer than what comes")
    os.link(one, other)
    write_atomically(one, "x")
    assert one.samefile(other)
    assert other.read_text() == "x"


def test_a_reader_finds_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_device_is_written_and_stays(tmp_path: Path) -> None:
    link = tmp_path / "null.csv"
    link.symlink_to("/dev/null")
    check_writable(link)
    write_atomically(link, "x")
    assert link.is_symlink()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_device_is_told_and_stays(tmp_path: Path) -> None:
    link = tmp_path / "full.csv"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"full.csv cannot be written: No space left on device"):
        write_atomically(link, "x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OutputError, match="nobody reads this pipe"):
        write_atomically(tmp_path / "pipe.csv", "x")


def test_a_pipe_that_is_read_gets_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    content = b"x" * 300_000  # more than a pipe holds
    reading = os.open(tmp_path / "pipe.csv", os.O_RDONLY | os.O_NONBLOCK)
    kept_open = os.open(tmp_path / "pipe.csv", os.O_WRONLY)
    os.set_blocking(reading, True)
    writer = threading.Thread(target=write_atomically, args=(tmp_path / "pipe.csv", content))
    writer.start()
    with os.fdopen(reading, "rb") as file:
        assert file.read(len(content)) == content
    writer.join()
    os.close(kept_open)


def test_our_own_output_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.csv"
    path.write_text("printed before\n")
    found = path.stat()
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda descriptor: found if descriptor == 1 else real(descriptor))
    write_atomically(path, "x")
    assert path.read_text() == "printed before\nx"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.csv"
    path.write_text("old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"records.csv cannot be written: No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_moved_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mounted.csv"
    path.write_text("old and longer")

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", fail)
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@not_root
def test_what_may_not_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.touch(0o400)
    with pytest.raises(OutputError, match="permission denied"):
        check_writable(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 300 + ".csv", "File name too long"),
        ("a\0b.csv", "null byte"),
        ("half\ud800.csv", "no file can have this name"),
        ("file/below.csv", "directory file does not exist"),
        ("circle.csv", "Too many levels of symbolic links"),
    ],
)
def test_names_that_no_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    for call in (check_writable, lambda path: write_atomically(path, "x")):
        with pytest.raises(OutputError, match=message if call is check_writable else "."):
            call(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle.csv", "file"]
