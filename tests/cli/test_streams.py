"""stdout and stderr that are closed, full, broken or narrow: no traceback, and the files are there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench.cli.streams import Channel
from tests.cli.conftest import Cli

CONVBENCH = f"{sys.executable} -m convbench"
PROFILE = "profile Conv3x3 --dim 4 --size 8 --device meta --measure params -o out.csv"
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False, timeout=120
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 0, b""),
        ("2>&-", 0, b""),
        (">&- 2>&- <&-", 0, b""),
        pytest.param(">/dev/full", 3, b"the output cannot be written: No space left on device", marks=full),
        pytest.param("2>/dev/full", 0, b"", marks=full),
    ],
)
def test_files_are_written_whatever_becomes_of_the_streams(
    tmp_path: Path, redirection: str, code: int, said: bytes
) -> None:
    done = shell(f"{CONVBENCH} {PROFILE} {redirection}", tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert b"Conv3x3" in (tmp_path / "out.csv").read_bytes()


def test_a_reader_that_leaves_changes_no_exit_code(tmp_path: Path) -> None:
    done = shell(f"({CONVBENCH} list; echo code $? >&2) | true", tmp_path)
    assert done.stderr == b"code 0\n"


@full
def test_a_request_that_was_wrong_stays_so(tmp_path: Path) -> None:
    assert shell(f"{CONVBENCH} profile MFRA >/dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize(("arguments", "encoding"), [("list", "ascii"), ("--help", "ascii"), ("list", "cp1252")])
def test_what_an_encoding_lacks_is_written_alike(tmp_path: Path, arguments: str, encoding: str) -> None:
    done = shell(f"{CONVBENCH} {arguments}", tmp_path, PYTHONIOENCODING=encoding)
    text = done.stdout.decode(encoding)
    assert done.returncode == 0
    if arguments == "list":
        assert ("1.0x with" if encoding == "ascii" else "1.0× with") in text


def test_half_a_character_in_an_argument_is_shown(tmp_path: Path) -> None:
    done = shell(f"{CONVBENCH} profile \"$(printf 'M\\351\\033[31m')\"", tmp_path)
    assert done.returncode == 2
    assert rb"M\udce9\x1b[31m" in done.stderr.replace(b"\\\\", b"\\")
    assert b"\x1b" not in done.stderr


@pytest.mark.parametrize("columns", ["0", "99999999999", "²"])
def test_no_width_of_the_terminal_matters(tmp_path: Path, columns: str) -> None:
    done = shell(f"{CONVBENCH} list MRFA", tmp_path, COLUMNS=columns, LINES=columns)
    assert done.returncode == 0
    assert b"arXiv:2508.09000" in done.stdout


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"rmdir {gone}; {CONVBENCH} list MRFA; {CONVBENCH} profile MRFA -o out.csv"
    done = shell(line, gone)
    assert b"arXiv" in done.stdout
    assert done.returncode == 2
    assert b"the current directory does not exist any more" in done.stderr


def test_a_channel_takes_everything_and_says_what_was_lost() -> None:
    read, write = os.pipe()
    channel = Channel(write)
    assert channel.write(b"kept") == 4
    assert os.read(read, 9) == b"kept"
    os.close(read)
    assert channel.write(b"lost") == channel.write(b"more") == 4
    assert channel.lost is not None
    assert channel.lost.errno == errno.EPIPE
    os.close(write)


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("1×64 − 3 – σ ≥ 2²", "1x64 - 3 - sigma >= 22"),
        ("é → ü…", "e -> u..."),
        ("漢", r"\u6f22"),
        ("⠋ ╭─╮", "* +-+"),
    ],
)
def test_characters_in_ascii(text: str, alike: str) -> None:
    assert text.encode("ascii", "convbench.legible").decode() == alike


def test_an_error_that_nobody_foresaw_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("[red]what\x1b[31m\nhappened")

    monkeypatch.setattr("convbench.cli.catalogue.select", fail)
    result = cli("list")
    assert result.code == 3
    assert result.err.startswith(r"error: internal error: KeyError: '[red]what\x1b[31m\nhappened'; run with --debug")
    assert len(result.err.splitlines()) == 1
    again = cli("--debug", "list")
    assert again.code == 3
    assert "Traceback" in again.err


def test_a_disk_that_fills_up_is_told_by_its_own_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr("convbench.cli.catalogue.select", fail)
    result = cli("list")
    assert (result.code, result.err) == (3, "error: [Errno 28] No space left on device: '/tmp/x'\n")


def test_a_uid_without_a_name_or_a_home(tmp_path: Path) -> None:
    code = (
        "import os, pwd, sys\n"
        "[os.environ.pop(name, None) for name in ('HOME', 'USER', 'LOGNAME', 'LNAME', 'USERNAME')]\n"
        "def nobody(uid):\n    raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from convbench.__main__ import main\n"
        "main()"
    )
    (tmp_path / "run.py").write_text(code)
    done = shell(f"{sys.executable} run.py {PROFILE.replace('meta', 'cpu')}", tmp_path)
    assert done.returncode == 0
    assert b"Conv3x3" in (tmp_path / "out.csv").read_bytes()
