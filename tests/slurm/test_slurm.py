"""Sweeps on a real cluster: the same records as here, whatever happens to its nodes or to the one who waits."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.conftest import Cluster, slurm

BLOCKS = """
import time
from torch import nn
class Fine(nn.Conv2d):
    def __init__(self, dim): super().__init__(dim, dim, 1)
class Slow(Fine):
    def forward(self, x):
        time.sleep(2)
        return super().forward(x)
class Hangs(Fine):
    def forward(self, x):
        time.sleep(600)
class Exits(Fine):
    def forward(self, x):
        import os
        os._exit(7)
"""
HOST_AND_TIME = {"created_at", "device_name"}


@pytest.fixture
def folder(tmp_path: Path, cluster: Cluster) -> Path:
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path


def command(*arguments: str) -> list[str]:
    script = shutil.which("convbench", path=str(Path(sys.executable).parent))
    return [*([script] if script else [sys.executable, "-m", "convbench"]), "sweep", *arguments]


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, check=False, timeout=400)


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def entries(store: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
    return [row for row in found if "key" in row]


def require_each_once(folder: Path, cases: int) -> None:
    assert len(rows(folder / "s.csv")) == cases
    counts = Counter(row["key"] for row in entries(folder / "sweep.jsonl"))
    assert len(counts) == cases
    assert set(counts.values()) == {1}


def queued() -> int:
    return len(slurm("squeue", "--noheader", "--array").splitlines())


def running_on(node: str) -> int:
    return len(slurm("squeue", "--noheader", "--array", "--states=RUNNING", f"--nodelist={node}").splitlines())


def test_records_are_those_of_a_sweep_here(folder: Path) -> None:
    arguments = ["blocks.py:Fine", "blocks.py:Exits", "--dim", "4,8", "--size", "4", "--measure", "params,cost,memory"]
    here = sweep(folder, *arguments, "--store", "here.jsonl", "-o", "here.csv")
    there = sweep(folder, *arguments, "--slurm", "partition=main", "-o", "there.csv", "-o", "there.json")
    assert (here.returncode, there.returncode) == (3, 3), there.stderr

    def lasting(path: Path) -> list[dict[str, str]]:
        return [{name: cell for name, cell in row.items() if name not in HOST_AND_TIME} for row in rows(path)]

    assert lasting(folder / "there.csv") == lasting(folder / "here.csv")
    assert [row["status"] for row in rows(folder / "there.csv")] == ["ok", "ok", "error", "error"]
    assert "submitted 4 cases to Slurm" in there.stderr
    assert all(entry["environment"] for entry in entries(folder / "sweep.jsonl"))
    assert json.loads((folder / "there.json").read_text())["environment"]["machine"]


def test_a_node_lost_in_the_middle_loses_and_doubles_nothing(folder: Path, cluster: Cluster) -> None:
    arguments = ["blocks.py:Slow", "--dim", "1,2,3,4,5,6", "--size", "4", "--measure", "params"]
    process = begin(folder, *arguments, "--slurm", "partition=main", "-o", "s.csv")
    cluster.wait_until(lambda: (folder / "sweep.jsonl").exists() and len(entries(folder / "sweep.jsonl")) >= 1)
    cluster.wait_until(lambda: running_on("n1") == 1 and any(True for _ in cluster.processes_on("n1")))
    cluster.lose("n1")
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    require_each_once(folder, 6)
    assert cluster.state_of("n1").startswith("down")


@pytest.mark.slow
def test_a_node_whose_daemon_alone_dies_does_not_double_what_it_still_measures(folder: Path, cluster: Cluster) -> None:
    arguments = ["blocks.py:Slow", "--dim", "1,2,3,4,5,6", "--size", "4", "--measure", "params"]
    process = begin(folder, *arguments, "--slurm", "partition=main", "-o", "s.csv")
    cluster.wait_until(lambda: running_on("n1") == 1 and any(True for _ in cluster.processes_on("n1")))
    os.kill(int((cluster.state / "dn1.pid").read_text()), signal.SIGKILL)
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    require_each_once(folder, 6)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_jobs_outlive_the_one_who_waits_and_a_later_call_picks_them_up(
    folder: Path, cluster: Cluster, how: signal.Signals
) -> None:
    arguments = ["blocks.py:Slow", "--dim", "1,2,3,4,5,6", "--size", "4", "--measure", "params"]
    arguments += ["--slurm", "partition=main", "-o", "s.csv"]
    process = begin(folder, *arguments)
    cluster.wait_until(lambda: (folder / "sweep.jsonl").exists() and len(entries(folder / "sweep.jsonl")) >= 1)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if how is signal.SIGINT else -9)
    assert queued() >= 2
    if how is signal.SIGINT:
        assert "stay with Slurm; the same command picks them up" in told
        assert len(rows(folder / "s.csv")) == len(entries(folder / "sweep.jsonl")) >= 1
    time.sleep(5)  # some finish with nobody there
    later = sweep(folder, *arguments)
    assert later.returncode == 0, later.stderr
    assert "submitted" not in later.stderr
    require_each_once(folder, 6)


@pytest.mark.slow
def test_jobs_that_vanish_are_submitted_again_and_at_last_recorded(folder: Path, cluster: Cluster) -> None:
    arguments = ["blocks.py:Hangs", "--dim", "4", "--size", "4", "--measure", "params"]
    process = begin(folder, *arguments, "--slurm", "partition=main", "-o", "s.csv")
    cancelled: set[str] = set()
    cluster.wait_until(lambda: _cancel_running(cancelled) or process.poll() is not None, seconds=300)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 3, told
    assert len(cancelled) == 3
    assert told.count("1 of them again") == 2
    (row,) = rows(folder / "s.csv")
    assert row["status"] == "error"
    assert "no record in 3 submissions" in row["error"]
    assert "CANCELLED" in row["error"]


def _cancel_running(cancelled: set[str]) -> bool:
    for job in slurm("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split():
        if job not in cancelled:
            time.sleep(2)  # so that it has begun to write its log
            subprocess.run(["scancel", job], check=True)
            cancelled.add(job)
    return False


@pytest.mark.slow
def test_a_case_that_hangs_is_a_record_within_its_own_limit(folder: Path) -> None:
    done = sweep(
        folder,
        *("blocks.py:Hangs", "--dim", "4", "--size", "4", "--measure", "params", "--timeout", "4"),
        *("--slurm", "partition=main", "-o", "s.csv"),
    )
    assert done.returncode == 3, done.stderr
    (row,) = rows(folder / "s.csv")
    assert (row["status"], row["input_shape"]) == ("timeout", "1x4x4x4")


@pytest.mark.slow
def test_a_job_out_of_time_is_requeued_and_at_last_recorded_as_such(folder: Path) -> None:
    done = sweep(
        folder,
        *("blocks.py:Hangs", "--dim", "4", "--size", "4", "--measure", "params"),
        *("--slurm", "partition=main,time=1,signal_delay_s=50", "-o", "s.csv"),
    )
    assert done.returncode == 3, done.stderr
    (row,) = rows(folder / "s.csv")
    assert row["status"] == "timeout"
    assert "reached Slurm's time limit 3 times" in row["error"]
    assert done.stderr.count("submitted") == 1


def test_what_slurm_refuses_is_a_message(folder: Path) -> None:
    arguments = ["blocks.py:Fine", "--dim", "4", "--size", "4", "--measure", "params"]
    refused = sweep(folder, *arguments, "--slurm", "partition=nosuch")
    assert refused.returncode == 2
    assert "Slurm refused the jobs" in refused.stderr
    assert "invalid partition" in refused.stderr
    assert "Traceback" not in refused.stderr
    unknown = sweep(folder, *arguments, "--slurm", "partition=main,colour=red")
    assert unknown.returncode == 2
    assert "colour" in unknown.stderr
