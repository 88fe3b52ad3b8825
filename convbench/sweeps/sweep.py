"""Carrying out a study: what the store does not hold yet is measured, and appended as it comes. Imports no torch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from convbench.records import Record
from convbench.sweeps.events import Ended, Event, Finished, Runner, Said, Started
from convbench.sweeps.local import LocalRunner
from convbench.sweeps.store import Contents, Entry, Store
from convbench.sweeps.study import Study
from convbench.sweeps.survey import require_valid
from convbench.sweeps.task import Task


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sweep stands, told whenever something happens.

    done, total: cases of the study. left_s: seconds that the rest takes if it goes on as it did; None before the first
    case of this run is through. event: what happened.
    """

    done: int
    total: int
    left_s: float | None
    event: Started | Finished | Said


Tell = Callable[[Progress], None]
RunnerOf = Callable[[Path, float], Runner]
"""Makes the runner of a sweep from its store and from the seconds after which a case is given up."""


@dataclass(frozen=True, slots=True)
class Result:
    """The entries of a study's tasks, in the study's order, and the environments they were measured in, by digest.

    kept: how many of the entries were in the store before.
    damage: what was wrong with lines of the store.
    interrupted: whether the user stopped it before the last case; parting_words: what the runner then has to say.
    """

    entries: tuple[Entry, ...]
    environments: Mapping[str, Mapping[str, Any]]
    kept: int
    damage: tuple[str, ...] = ()
    interrupted: bool = False
    parting_words: str = ""

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [entry.record for entry in self.entries]


def run_study(
    study: Study,
    store_path: Path,
    *,
    elsewhere: RunnerOf | None = None,
    force: bool = False,
    retry_failed: bool = False,
    tell: Tell = lambda _: None,
) -> Result:
    """Look the study over and carry it out, here or by the runner that ``elsewhere`` makes.

    Raises UsageError for a request that cannot be met, before anything is measured; see `carry_out` for the rest.
    """
    with Store(store_path) as store:
        todo = missing(study.tasks, store.contents, force=force, retry_failed=retry_failed)
        if not todo:
            return _result(study.tasks, store, kept=len(study.tasks))
        runner = LocalRunner(study.timeout_s) if elsewhere is None else elsewhere(store_path, study.timeout_s)
        require_valid(study, todo, devices_here=elsewhere is None)
        return carry_out(study.tasks, store, runner, todo, tell)


def missing(tasks: Sequence[Task], held: Contents, *, force: bool = False, retry_failed: bool = False) -> list[Task]:
    """The tasks that are to be measured: those that a store does not hold.

    force: all of them. retry_failed: also those whose status is not ``ok``.
    """

    def wanted(task: Task) -> bool:
        entry = held.entries.get(task.key)
        return force or entry is None or (retry_failed and entry.record.status != "ok")

    return [task for task in tasks if wanted(task)]


def carry_out(
    tasks: Sequence[Task], store: Store, runner: Runner, todo: Sequence[Task], tell: Tell = lambda _: None
) -> Result:
    """Measure ``todo``, append what comes to the open store, and give what it then holds of all ``tasks``.

    Ctrl-C ends it with what is complete; a second one raises KeyboardInterrupt at once.
    Raises OutputError when the store cannot be written, and what kept the runner from measuring at all.
    """
    interrupted = _Sweep(tasks, todo, store, runner, tell).run()
    result = _result(tasks, store, kept=len(tasks) - len(todo))
    return replace(result, interrupted=True, parting_words=runner.parting_words()) if interrupted else result


def _result(tasks: Sequence[Task], store: Store, kept: int) -> Result:
    entries = store.contents.entries
    found = tuple(entries[task.key] for task in tasks if task.key in entries)
    return Result(found, store.contents.environments, kept, store.contents.damage)


class _Interrupt:
    """Ctrl-C, as an item of the queue."""


class _Sweep:
    def __init__(self, tasks: Sequence[Task], todo: Sequence[Task], store: Store, runner: Runner, tell: Tell) -> None:
        self._total = len(tasks)
        self._todo = list(todo)
        self._waiting = {task.key for task in todo}
        self._store = store
        self._runner = runner
        self._tell = tell
        self._began: float | None = None
        self._queue: SimpleQueue[Event | _Interrupt] = SimpleQueue()

    def run(self) -> bool:
        """Measure; whether the user stopped it. Nothing that arrived is left unwritten."""
        with _interrupts_into(self._queue):
            self._runner.start(self._todo, self._queue.put)
            try:
                while self._waiting:
                    event = self._queue.get()
                    if isinstance(event, _Interrupt):
                        return True
                    if isinstance(event, Ended):
                        if event.error is not None:
                            raise event.error
                        break
                    self._take(event)
                return False
            finally:
                self._runner.stop()
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                event = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(event, Finished):
                self._take(event)

    def _take(self, event: Started | Finished | Said) -> None:
        if isinstance(event, Started) and self._began is None:
            self._began = time.monotonic()
        if isinstance(event, Finished):
            if event.task.key not in self._waiting:
                return  # a job that was given up on, and came back with a second record
            self._store.append(
                event.task.key, event.record, event.task.to_json(), event.environment, event.wall_s, event.during
            )
            self._runner.settled(event.task)
            self._waiting.discard(event.task.key)
        self._tell(Progress(self._total - len(self._waiting), self._total, self._left_s(), event))

    def _left_s(self) -> float | None:
        """What is left takes per case what this run took so far, start-up left out."""
        measured = len(self._todo) - len(self._waiting)
        if not measured or self._began is None:
            return None
        return (time.monotonic() - self._began) / measured * len(self._waiting)


@contextmanager
def _interrupts_into(queue: SimpleQueue[Any]) -> Iterator[None]:
    """Make Ctrl-C an item of the queue, so that it never tears a line that is being written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        queue.put(_Interrupt())

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
