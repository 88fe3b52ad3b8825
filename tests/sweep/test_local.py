"""Measuring in worker processes: every way a case can end is a record, devices take turns, nobody polls."""

from __future__ import annotations

import queue
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from convbench.case import Case
from convbench.records import Record
from convbench.sweeps.events import Ended, Event, Finished, Started
from convbench.sweeps.local import LocalRunner, _phases
from convbench.sweeps.store import Store
from convbench.sweeps.sweep import carry_out
from convbench.sweeps.task import Task

UNRULY = Path(__file__).parent / "unruly_blocks.py"


def task(name: str, dim: int = 8, **conditions: str) -> Task:
    return Task(Case(f"{UNRULY}:{name}", dim=dim, size=4, **conditions), ("params", "cost"))  # type: ignore[arg-type]


def measure(tasks: Sequence[Task], folder: Path, timeout_s: float = 60) -> list[Record]:
    with Store(folder / "s.jsonl") as store:
        return carry_out(tasks, store, LocalRunner(timeout_s), tasks).records


def test_every_way_to_fail_is_a_record_and_the_rest_goes_on(tmp_path: Path) -> None:
    names = ("Fine", "Exits", "Segfaults", "Killed", "Raises", "Hoards", "Divisible", "Fine")
    tasks = [task(name, dim=8 + index) for index, name in enumerate(names)]
    records = measure([*tasks, task("Missing")], tmp_path)
    found = [(record.target.rpartition(":")[2], record.status) for record in records]
    assert found == [
        ("Fine", "ok"),
        ("Exits", "error"),
        ("Segfaults", "error"),
        ("Killed", "oom"),
        ("Raises", "error"),
        ("Hoards", "oom"),
        ("Divisible", "error"),
        ("Fine", "ok"),
        ("Missing", "error"),
    ]
    reasons = {record.target.rpartition(":")[2]: record.error or "" for record in records}
    assert "exit code 7" in reasons["Exits"]
    assert "these are my last words" in reasons["Exits"]
    assert "signal 11" in reasons["Segfaults"]
    assert "memory runs out" in reasons["Killed"]
    assert "a mistake of the author's" in reasons["Raises"]
    assert "dim must be a multiple of 4, got 14" in reasons["Divisible"]
    assert "Missing" in reasons["Missing"]
    dead = records[2]  # a record of a dead process still says which case it was
    assert (dead.kind, dead.options, dead.input_shape) == ("block", '{"dim": 10}', "1x10x4x4")
    assert (dead.device, dead.dtype, dead.threads, dead.params) == ("cpu", "float32", 1, 110)  # counted before it died
    assert dead.created_at
    assert records[0].macs == 8 * 8 * 16


def test_a_case_that_hangs_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    records = measure([task("Hangs"), task("Fine")], tmp_path, timeout_s=3)
    assert [record.status for record in records] == ["timeout", "ok"]
    assert "longer than 3 s" in (records[0].error or "")


def test_the_parent_sleeps_while_a_case_is_measured(tmp_path: Path) -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    switches: list[int] = []
    runner = LocalRunner(60)
    runner.start([task("Slow")], events.put)
    while not isinstance(event := events.get(), Ended):
        switches.append(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw)
        assert isinstance(event, Started | Finished)
    assert len(switches) == 2
    assert switches[1] - switches[0] < 40  # looking every 0.1 s would wake it 50 times; a message does so too


@pytest.mark.slow
def test_stopping_ends_the_worker_at_once(tmp_path: Path) -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    runner = LocalRunner(600)
    runner.start([task("Hangs"), task("Fine")], events.put)
    assert isinstance(events.get(timeout=60), Started)
    runner.stop()
    ended = events.get(timeout=30)
    assert isinstance(ended, Ended)
    assert ended.error is None


def test_accelerators_work_side_by_side_and_the_processor_after_them() -> None:
    devices = ("meta", "cpu", "cuda", "cuda:1", "cpu", "cuda:0")
    tasks = [
        Task(Case("MRFA", dim=4 * (index + 1), device=device), ("params",)) for index, device in enumerate(devices)
    ]
    phases = [{device: len(found) for device, found in phase.items()} for phase in _phases(tasks)]
    assert phases == [{"cuda:0": 2, "cuda:1": 1}, {"cpu": 2}, {"meta": 1}]
