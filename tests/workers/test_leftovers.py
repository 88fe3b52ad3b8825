"""However the command ends, nothing that it or a target started lives on: children, their children, other sessions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from marked import alive_under, left_after

HERE = Path(__file__).parent
ASKS = (
    "from convbench.workers.ending import end_as_by_ctrl_c\n"
    "from convbench.workers.process import run_in_worker\n"
    "end_as_by_ctrl_c()\n"
    "run_in_worker({'do': 'family_jobs:start', 'how': HOW}, on_message=lambda m: print('ready', flush=True))\n"
)
FAMILIES = ("child", "session", "daemon", "stopped", "deaf", "forking", "program")
ENDS = {
    "killed": (lambda command: os.kill(command, signal.SIGKILL), -signal.SIGKILL),
    "asked to end": (lambda command: os.kill(command, signal.SIGTERM), 130),
    "left by its terminal": (lambda command: os.kill(command, signal.SIGHUP), 130),
    "interrupted alone": (lambda command: os.kill(command, signal.SIGINT), 130),
    "interrupted with its group": (lambda command: os.killpg(command, signal.SIGINT), 130),
    "killed with its group": (lambda command: os.killpg(command, signal.SIGKILL), -signal.SIGKILL),
}


def command(how: str, mark: str) -> subprocess.Popen[str]:
    """A process that has a worker do what ``how`` says, once it is being done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "MARK": mark}
    heard = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # under nohup it would rightly be ignored
    asks = f"try:\n    exec({ASKS!r})\nexcept KeyboardInterrupt:\n    sys.exit(130)"
    code = f"import signal, sys\n{heard}\nHOW = {how!r}\n{asks}"
    started = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", FAMILIES)
def test_nothing_outlives_the_command(how: str, end: str) -> None:
    mark = uuid4().hex
    send, code = ENDS[end]
    with command(how, mark) as started:
        assert len(alive_under(mark)) >= 3
        send(started.pid)
        assert started.wait(20) == code
    assert left_after(mark, 10) == []


@pytest.mark.parametrize("how", FAMILIES)
def test_a_family_ends_with_its_worker(how: str) -> None:
    mark = uuid4().hex
    with command(f"{how} and die", mark) as started:
        assert started.wait(20) == 1
    assert left_after(mark, 10) == []


def test_a_guard_sleeps_while_a_worker_works() -> None:
    mark = uuid4().hex
    with command("child", mark) as started:
        guard = next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == started.pid)
        before = _ticks(guard)
        time.sleep(0.5)
        assert _ticks(guard) == before
        started.terminate()
    assert left_after(mark, 10) == []


def _fields(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _parent(process: int) -> int:
    try:
        return int(_fields(process)[1])
    except OSError:
        return 0


def _ticks(process: int) -> tuple[int, int]:
    return int(_fields(process)[11]), int(_fields(process)[12])
