"""A sweep's own thread, with a runner that does as it is told: what is measured, what is kept, what is never lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.records import Record
from convbench.sweeps.events import Ended, Finished, Post, Said, Started
from convbench.sweeps.store import Store
from convbench.sweeps.sweep import Progress, Result, carry_out, missing
from convbench.sweeps.task import Task

TASKS = [Task(Case("MRFA", dim=4 * number), ("cost",)) for number in range(1, 7)]


def record(task: Task, status: str = "ok") -> Record:
    return Record("MRFA", params=task.case.dim, status=status)


class ScriptedRunner:
    """Finishes every task at once; ``before`` is called with the post function before each."""

    def __init__(self, before: Callable[[Task, Post], None] = lambda task, post: None, error: Exception | None = None):
        self.before = before
        self.error = error
        self.given: list[Task] = []
        self.settled_tasks: list[Task] = []
        self.stopped = False

    def start(self, tasks: Sequence[Task], post: Post) -> None:
        self.given = list(tasks)
        threading.Thread(target=self._run, args=(post,), daemon=True).start()

    def _run(self, post: Post) -> None:
        for task in self.given:
            post(Started(task, "cpu"))
            self.before(task, post)
            post(Finished(task, record(task), {"cpu": "x"}, 1.0))
        post(Ended(self.error))

    def settled(self, task: Task) -> None:
        self.settled_tasks.append(task)

    def stop(self) -> None:
        self.stopped = True

    def parting_words(self) -> str:
        return "so long"


def sweep(path: Path, runner: ScriptedRunner, tasks: Sequence[Task] = TASKS, **how: bool) -> Result:
    with Store(path) as store:
        return carry_out(tasks, store, runner, missing(tasks, store.contents, **how))


def test_records_come_in_the_order_of_the_study(tmp_path: Path) -> None:
    sweep(tmp_path / "s.jsonl", ScriptedRunner(), TASKS[3:])
    result = sweep(tmp_path / "s.jsonl", ScriptedRunner())
    assert [entry.key for entry in result.entries] == [task.key for task in TASKS]
    assert (result.kept, result.interrupted) == (3, False)


def test_what_the_store_holds_is_not_measured_again_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    sweep(path, ScriptedRunner(), TASKS[:4])
    rest, forced = ScriptedRunner(), ScriptedRunner()
    sweep(path, rest)
    assert rest.given == TASKS[4:]
    sweep(path, forced, force=True)
    assert forced.given == TASKS
    with Store(path) as store:
        assert len(store.contents.entries) == len(TASKS)


def test_other_tasks_of_the_store_stay_out_of_the_result(tmp_path: Path) -> None:
    sweep(tmp_path / "s.jsonl", ScriptedRunner(), TASKS[:4])
    assert len(sweep(tmp_path / "s.jsonl", ScriptedRunner(), TASKS[3:]).entries) == 3


def test_failed_cases_are_done_until_someone_asks_again(tmp_path: Path) -> None:
    with Store(tmp_path / "s.jsonl") as store:
        for task, status in zip(TASKS[:4], ("ok", "oom", "timeout", "error"), strict=True):
            store.append(task.key, record(task, status), {}, None, 0.0)
        assert missing(TASKS, store.contents) == TASKS[4:]
        assert missing(TASKS, store.contents, retry_failed=True) == TASKS[1:]


def test_ctrl_c_keeps_everything_that_arrived_and_stops_the_runner(tmp_path: Path) -> None:
    def interrupt_at_the_fourth(task: Task, post: Post) -> None:
        if task == TASKS[3]:
            os.kill(os.getpid(), signal.SIGINT)
            arrived.wait(5)

    arrived = threading.Event()
    runner = ScriptedRunner(interrupt_at_the_fourth)
    result = sweep(tmp_path / "s.jsonl", runner)
    assert result.interrupted
    assert result.parting_words == "so long"
    assert runner.stopped
    assert [entry.key for entry in result.entries] == [task.key for task in TASKS[:3]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    arrived.set()


def test_what_arrives_while_stopping_is_kept(tmp_path: Path) -> None:
    class LateRunner(ScriptedRunner):
        def stop(self) -> None:
            if not self.stopped:
                self.post(Finished(TASKS[1], record(TASKS[1]), None, 1.0))
            super().stop()

        def _run(self, post: Post) -> None:
            self.post = post
            post(Finished(TASKS[0], record(TASKS[0]), None, 1.0))
            os.kill(os.getpid(), signal.SIGINT)

    result = sweep(tmp_path / "s.jsonl", LateRunner())
    assert [entry.key for entry in result.entries] == [task.key for task in TASKS[:2]]


def test_a_record_that_comes_twice_counts_once(tmp_path: Path) -> None:
    def twice(task: Task, post: Post) -> None:
        post(Finished(task, record(task), None, 1.0))

    runner = ScriptedRunner(twice)
    sweep(tmp_path / "s.jsonl", runner)
    assert (tmp_path / "s.jsonl").read_text().count('"key"') == len(TASKS)
    assert runner.settled_tasks == TASKS


def test_what_ends_the_runner_is_raised_and_the_store_keeps_the_rest(tmp_path: Path) -> None:
    def give_up(task: Task, post: Post) -> None:
        if task == TASKS[2]:
            post(Ended(MeasurementError("no process can be started")))

    with pytest.raises(MeasurementError, match="no process can be started"):
        sweep(tmp_path / "s.jsonl", ScriptedRunner(give_up))
    with Store(tmp_path / "s.jsonl") as store:
        assert set(store.contents.entries) >= {task.key for task in TASKS[:2]}


def test_progress_counts_what_was_there_and_tells_the_time_left(tmp_path: Path) -> None:
    sweep(tmp_path / "s.jsonl", ScriptedRunner(), TASKS[:2])
    told: list[Progress] = []
    with Store(tmp_path / "s.jsonl") as store:
        runner = ScriptedRunner(lambda task, post: post(Said("a word")))
        carry_out(TASKS, store, runner, missing(TASKS, store.contents), told.append)
    assert [(p.done, p.total) for p in told if isinstance(p.event, Finished)] == [(n, 6) for n in (3, 4, 5, 6)]
    assert told[0].left_s is None
    assert [p.left_s is not None and p.left_s >= 0 for p in told if isinstance(p.event, Finished)] == [True] * 4
    assert told[-1].left_s == 0


def test_a_store_that_cannot_be_written_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convbench.errors import OutputError

    runner = ScriptedRunner()
    with Store(tmp_path / "s.jsonl") as store:

        def refuse(*_: object) -> None:
            raise OutputError("disk full")

        monkeypatch.setattr(store, "append", refuse)
        with pytest.raises(OutputError, match="disk full"):
            carry_out(TASKS, store, runner, TASKS)
    assert runner.stopped
