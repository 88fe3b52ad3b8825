"""Who descends from a process, and who was started under a mark."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from convbench.workers.guard import descendants, marked
from convbench.workers.process import run_in_worker

SLEEPS = "import time; print(flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]).wait()"


def test_children_of_children_are_found_in_the_tree_and_by_their_mark() -> None:
    mark = uuid4().hex
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "MARK": mark}) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = descendants(parent.pid)
        assert set(marked(mark)) == {parent.pid, child}
        assert {parent.pid, child} <= set(descendants(os.getpid()))
        parent.kill()
        os.kill(child, 9)


def test_a_worker_is_the_first_to_go_when_memory_runs_out() -> None:
    job = {"do": "worker_jobs:read", "path": "/proc/self/oom_score_adj"}
    assert int(run_in_worker(job)) >= 500
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 500
