"""Driving the command line: in this process where speed matters, as the installed command where that is the point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from convbench.cli.console import verbosity


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_device_locks(own_device_locks: None) -> None: ...


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``cli("profile", "MRFA")`` in an empty working directory."""
    from convbench.cli.main import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("convbench.cli.measuring._QUIET_S", float("inf"))  # how slow a machine is changes no output

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["convbench", *arguments])
        try:
            code = app(list(arguments), prog_name="convbench")
        except SystemExit as stop:
            code = stop.code
        finally:
            verbosity.quiet = verbosity.verbose = verbosity.debug = False
        captured = capsys.readouterr()
        return Result(int(code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def installed(tmp_path: Path) -> Cli:
    """The installed ``convbench`` in a process of its own, in an empty working directory, without a terminal."""
    script = shutil.which("convbench", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "convbench"]

    def run(*arguments: str, **environment: str) -> Result:
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
