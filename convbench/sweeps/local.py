"""Tasks on this machine: one worker process a device, and nothing else while it measures. Imports no torch.

Every device is held under a file lock, so that two sweeps on one machine take turns. Accelerators work side by side;
the processor waits until they are through, since each of them keeps a core busy. The parent sleeps on the workers'
pipes, which they write to between steps only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from convbench.environment import moment
from convbench.measures.carry_out import Measurer
from convbench.records import record_of
from convbench.sweeps.events import Ended, Finished, Post, Said, Started
from convbench.sweeps.task import Task
from convbench.workers.device_lock import device_lock, physical_device

# Of the environment record, what differs from case to case.
_PASSING = ("start", "end", "steal_share", "sources")
_STOP_LIMIT_S = 10.0


class LocalRunner:
    """Carries out tasks in worker processes. See `convbench.sweeps.events.Runner`.

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
        self._tasks = tasks
        self._stopping = stopping
        self._post = post
        self._measurer = Measurer(limit_s=timeout_s, describes=True)

    def run(self) -> None:
        """Measure every task."""
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
        """End the processes, and with them the wait for their answers. The runner is stopping by then."""
        self._measurer.kill()

    def _measure(self) -> None:
        with self._measurer:
            for task in self._tasks:
                for event in measure_task(self._measurer, task, self._device):
                    if self._stopping.is_set():
                        return
                    self._post(event)

    def _tell(self, text: str) -> None:
        self._post(Said(text))


def measure_task(measurer: Measurer, task: Task, where: str) -> Iterator[Started | Finished]:
    """Measure one task on a device that the caller holds: its beginning, and its record.

    Raises MeasurementError where no worker can be started.
    """
    measurer.environment = measurer.environment or measurer.describe()
    measurer.wait_ready()  # so that the case's clock does not run while torch is imported
    yield Started(task, where)
    begun, before = time.monotonic(), moment()
    (outcome,) = measurer.measure([task.case], task.plan())
    environment = {name: value for name, value in measurer.environment.items() if name not in _PASSING}
    during = {
        "start": asdict(before),
        "end": asdict(moment()),
        "source": None if outcome.source is None else asdict(outcome.source),
    }
    yield Finished(task, record_of(outcome), environment, time.monotonic() - begun, during)
