"""Tasks on this machine: one worker process a device, and nothing else while it measures. Imports no torch.

Every device is held under a file lock, so that two sweeps on one machine take turns. Accelerators work side by side;
the processor waits until they are through, since each of them keeps a core busy. The parent sleeps on the workers'
pipes, which they write to between cases only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.records import Record, format_given, format_options, format_shapes, timestamp
from convbench.sweep.events import Ended, Event, Finished, Post, Said, Started
from convbench.sweep.task import Task
from convbench.workers.device_lock import device_lock, physical_device
from convbench.workers.process import Worker, WorkerCrash, WorkerTimeout

JOB = "convbench.sweep.job:run"

_START_LIMIT_S = 600.0
_STOP_LIMIT_S = 10.0


class LocalRunner:
    """Carries out tasks in worker processes. See `convbench.sweep.events.Runner`.

    timeout_s: seconds after which a case is given up and recorded with ``status=timeout``.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._lanes: list[Lane] = []
        self._thread: threading.Thread | None = None

    def start(self, tasks: Sequence[Task], post: Post) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, args=(list(tasks), post), daemon=True)
        self._thread.start()

    def settled(self, task: Task) -> None:
        """Nothing is kept outside the store."""

    def stop(self) -> None:
        """Kill the workers; what they were measuring is lost."""
        self._stopping.set()
        for lane in list(self._lanes):
            lane.kill()
        if self._thread is not None:
            self._thread.join(_STOP_LIMIT_S)  # so that the devices are free when this returns

    def parting_words(self) -> str:
        """Nothing: an interrupted sweep leaves nothing behind."""
        return ""

    def _run(self, tasks: Sequence[Task], post: Post) -> None:
        error: BaseException | None = None
        for phase in _phases(tasks):
            lanes = [Lane(device, phase[device], self._timeout_s, self._stopping, post) for device in phase]
            self._lanes = lanes
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join()
            error = next((lane.error for lane in lanes if lane.error is not None), None)
            if error is not None or self._stopping.is_set():
                break
        post(Ended(error))


def _phases(tasks: Sequence[Task]) -> Iterator[dict[str, list[Task]]]:
    """Tasks by device, and devices that may work at the same time together."""
    accelerators: dict[str, list[Task]] = {}
    alone: dict[str, list[Task]] = {"cpu": [], "meta": []}
    for task in tasks:
        device = physical_device(task.case.device)
        (alone if device in alone else accelerators).setdefault(device, []).append(task)
    for phase in (accelerators, *({device: alone[device]} for device in alone)):
        if any(phase.values()):
            yield phase


class Lane(threading.Thread):
    """One device and its tasks. ``error``: what ended it early, other than being stopped."""

    def __init__(
        self, device: str, tasks: Sequence[Task], timeout_s: float, stopping: threading.Event, post: Post
    ) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._device = device
        self._pending = deque(tasks)
        self._timeout_s = timeout_s
        self._stopping = stopping
        self._post = post
        self._worker: Worker | None = None
        self._handover = threading.Lock()

    def run(self) -> None:
        """Measure every task; a worker that dies is replaced, and the task that it died of recorded."""
        try:
            if self._device == "meta":
                self._measure()
            else:
                with device_lock(self._device, self._tell, self._stopping) as held:
                    if held:
                        self._measure()
        except BaseException as error:  # told by the sweep's own thread
            if not self._stopping.is_set():
                self.error = error

    def kill(self) -> None:
        """End the worker, and with it the wait for its answer. The runner is stopping by then."""
        with self._handover:
            if self._worker is not None:
                self._worker.kill()

    def _measure(self) -> None:
        while self._pending and not self._stopping.is_set():
            with Worker() as worker:
                with self._handover:
                    if self._stopping.is_set():
                        return
                    self._worker = worker
                try:
                    measure_in(worker, list(self._pending), self._timeout_s, self._device, self._hear)
                finally:
                    with self._handover:
                        self._worker = None

    def _tell(self, text: str) -> None:
        self._post(Said(text))

    def _hear(self, event: Event) -> None:
        if self._stopping.is_set():
            return
        if isinstance(event, Finished):
            self._pending.popleft()
        self._post(event)


def measure_in(
    worker: Worker,
    tasks: Sequence[Task],
    timeout_s: float,
    where: str,
    post: Post,
    blameless: Collection[int] = (),
) -> None:
    """Have ``worker`` measure ``tasks`` in their order; if it dies, that is the record of the task it was at.

    timeout_s: of a case. blameless: signals that come from outside; a worker that dies of one raises WorkerCrash.
    Raises WorkerCrash also when it dies before its first task, and what it could not be started for.
    """
    worker.prepare(JOB)
    worker.wait_ready(_START_LIMIT_S)
    listener = _Listener(tasks, where, post)
    try:
        worker.run(
            {"do": JOB, "tasks": [task.to_json() for task in tasks]}, timeout_s=timeout_s, on_message=listener.hear
        )
    except WorkerTimeout as error:
        listener.give_up(error, "timeout", f"the case took longer than {timeout_s:g} s and was stopped")
    except WorkerCrash as error:
        if -error.exit_code in blameless:
            raise
        listener.give_up(error, "oom" if error.killed else "error", str(error))


class _Listener:
    """Turns a worker's messages into events, and its death into the record of the task it was at."""

    def __init__(self, tasks: Sequence[Task], where: str, post: Post) -> None:
        self._tasks = {task.key: task for task in tasks}
        self._where = where
        self._post = post
        self._environment: Mapping[str, Any] | None = None
        self._task: Task | None = None
        self._identity: Record | None = None
        self._begun = 0.0

    def hear(self, message: Mapping[str, Any]) -> None:
        if "environment" in message:
            self._environment = message["environment"]
        elif "started" in message:
            self._task, self._identity = self._tasks[message["started"]], None
            self._begun = time.monotonic()
            self._post(Started(self._task, self._where))
        elif "identity" in message:
            self._identity = Record.from_row(message["identity"])
        elif "record" in message:
            self._finish(Record.from_row(message["record"]), message["wall_s"], message["during"])

    def give_up(self, error: MeasurementError, status: str, reason: str) -> None:
        """Record the task at hand as failed; without one, the worker itself could not be started."""
        if self._task is None:
            raise error
        known = self._identity or stated_record(self._task.case)
        failed = replace(known, status=status, error=reason, created_at=timestamp())
        self._finish(failed, time.monotonic() - self._begun)

    def _finish(self, record: Record, wall_s: float, during: Mapping[str, Any] | None = None) -> None:
        assert self._task is not None
        self._post(Finished(self._task, record, self._environment, wall_s, during))
        self._task = None


def stated_record(case: Case) -> Record:
    """What is known of a case whose target could not even be imported."""
    from convbench import __version__

    return Record(
        case.target,
        options=format_options(dict(case.options)),
        given=format_given(case),
        input_shape=format_shapes(case.shapes) or None,
        device=case.device,
        dtype=case.dtype,
        memory_format=case.memory_format,
        mode=case.mode,
        execution=case.execution,
        threads=case.threads,
        convbench_version=__version__,
    )
