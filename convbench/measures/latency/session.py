"""The worker processes of one measurement, one after another: what they are asked, and what becomes of the answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from convbench.case import Case
from convbench.measures.latency.combine import Gathered
from convbench.measures.latency.portable import portable
from convbench.measures.latency.settings import LatencySettings, Progress
from convbench.run.process import Worker, WorkerCrash, WorkerTimeout, timing_environment
from convbench.statistics import Interval
from convbench.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.timing.order import Order
from convbench.timing.result import ProcessTiming, Status, TargetTiming

Tell = Callable[[Progress], None]

_START_S = 300.0
_WAITING_AT_MOST = 5
_WAITING_BYTES = 2**30


@dataclass(slots=True)
class Session:
    """Cases measured in the same rounds by ``replicates`` processes.

    groups: indices that share a process, the baseline first in each; one group unless memory is short.
    """

    cases: Sequence[Case]
    baseline: int
    settings: LatencySettings
    replicates: int
    tell: Tell
    gathered: Gathered = field(default_factory=Gathered)
    groups: list[list[int]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _waiting: list[Worker] = field(default_factory=list)
    _look: ProcessTiming | None = None

    def run(self) -> Gathered:
        """Measure. Ctrl-C ends it with what was complete, and sets ``interrupted``."""
        others = [index for index in range(len(self.cases)) if index != self.baseline]
        self.groups = [[self.baseline, *others]]
        self._names = ["the module" if case.target.startswith("saved:") else case.target for case in self.cases]
        with TemporaryDirectory(prefix="convbench-") as folder, ExitStack() as stack:
            self.cases = [portable(case, Path(folder)) for case in self.cases]
            try:
                self._start_workers(stack, Path(folder))
                for number in range(self.replicates):
                    self._replicate(number, Path(folder))
            except KeyboardInterrupt:
                self.gathered.interrupted = True
                if self._look is not None:
                    self._keep(self._look)
        return self.gathered

    def _replicate(self, number: int, folder: Path) -> None:
        at = 0
        while at < len(self.groups):  # a group that memory has no room for splits while it is measured
            self._measure_group(at, number, folder)
            at += 1

    def _measure_group(self, at: int, number: int, folder: Path) -> None:
        """Measure one group; a target that hangs or takes the process with it is left out, and the rest redone."""
        while members := [index for index in self.groups[at] if index not in self.gathered.failures]:
            beacon = folder / "beacon"
            Beacon.create(beacon)
            try:
                timing = self._ask(self._order(members, number, beacon), number, folder)
            except (WorkerTimeout, WorkerCrash) as error:
                self._look = None
                self._blame(Beacon.read(beacon), at, members, error)
                continue
            self._look = None
            self._keep(timing)
            if timing.deferred:
                self.groups[at] = [index for index in self.groups[at] if index not in timing.deferred]
                self.groups.append([self.baseline, *timing.deferred])
            return

    def _order(self, members: Sequence[int], number: int, beacon: Path) -> Order:
        settings = self.settings
        return Order(
            cases={index: self.cases[index] for index in members},
            baseline=self.baseline if self.baseline in members else None,
            threads=self.cases[self.baseline].threads,
            budget_s=settings.budget_s / self.replicates,
            precision=settings.precision,
            margin=settings.margin,
            seed=settings.seed + number,
            cache=settings.cache,
            kernels=number == 0,
            beacon=beacon,
        )

    def _ask(self, order: Order, number: int, folder: Path) -> ProcessTiming:
        def hear(message: Mapping[str, Any]) -> None:
            if "look" in message:
                self._look = ProcessTiming.from_json(message["look"])
            self.tell(self._progress(message, number))

        with self._worker(folder) as worker:
            answer = worker.run(order.to_request(), timeout_s=self.settings.timeout_s, on_message=hear)
        return ProcessTiming.from_json(answer)

    def _keep(self, timing: ProcessTiming) -> None:
        gathered = self.gathered
        for index, target in timing.targets.items():
            if target.status == "ok":
                gathered.timings.setdefault(index, []).append(target)
            else:
                gathered.failures[index] = target
        ratio = _log_ratio(timing.control)
        if ratio is not None:
            gathered.controls.append(ratio)
        gathered.notes.extend(timing.notes)

    def _blame(self, owner: int, at: int, members: Sequence[int], error: WorkerTimeout | WorkerCrash) -> None:
        """Find who hung or crashed, and leave that target out; raise where it was nobody's turn."""
        if owner == NOBODY:
            raise error
        index = members[0] if owner == CONTROL else owner
        killed = isinstance(error, WorkerCrash) and error.killed
        if killed and len(members) > 2 and index != members[0]:  # it may fit into memory beside the baseline alone
            self.groups[at] = [member for member in self.groups[at] if member != index]
            self.groups.append([self.baseline, index])
            return
        status: Status = "timeout" if isinstance(error, WorkerTimeout) else "oom" if killed else "error"
        reason = (
            f"one call took over {self.settings.timeout_s:g} s and was stopped" if status == "timeout" else str(error)
        )
        self.gathered.failures[index] = TargetTiming(status, reason, type(error).__name__)

    def _start_workers(self, stack: ExitStack, folder: Path) -> None:
        """Bring up the processes side by side while nothing is measured; each then waits for its turn."""
        import psutil

        room = int(psutil.virtual_memory().available) // (2 * _WAITING_BYTES)
        count = max(1, min(self.replicates, _WAITING_AT_MOST, room))
        self.tell(Progress(1, self.replicates, f"starting {count} process{'es' if count > 1 else ''}"))
        for _ in range(count):
            self._waiting.append(stack.enter_context(self._started(folder)))
        for worker in self._waiting:
            worker.wait_ready(_START_S)

    def _started(self, folder: Path) -> Worker:
        worker = Worker(env=self._environment(folder))
        worker.prepare("latency")
        return worker

    @contextmanager
    def _worker(self, folder: Path) -> Iterator[Worker]:
        """One that is ready: its start-up is no part of what a target may take."""
        if self._waiting:
            with self._waiting.pop(0) as worker:
                yield worker
            return
        with self._started(folder) as worker:
            worker.wait_ready(_START_S)
            yield worker

    def _environment(self, folder: Path) -> dict[str, str]:
        """Compiled code goes into a cache of this measurement's own, so that compile times are of an empty one."""
        cache = {"TORCHINDUCTOR_CACHE_DIR": os.fspath(folder / "inductor")}
        return {**timing_environment(self.cases[self.baseline].threads), **cache}

    def _progress(self, message: Mapping[str, Any], number: int) -> Progress:
        where = (number + 1, self.replicates)
        if "phase" in message:
            index = message["target"]
            target = self._names[index] if index != CONTROL else f"{self._names[self.baseline]} again"
            return Progress(*where, message["phase"], target)
        if self._look is None or "alive" in message:
            return Progress(*where, "measuring", rounds=int(message.get("alive", 0)))
        index, target_timing = _most_informative(self._look, self.baseline)
        column = None if target_timing is None else target_timing.eager
        if column is None:
            return Progress(*where, "measuring", rounds=self._look.rounds)
        ratio = None if column.log_ratio is None else column.log_ratio.exp
        return Progress(
            *where,
            "measuring",
            self._names[index],
            self._look.rounds,
            _triple(column.median_ms),
            None if ratio is None else _triple(ratio),
        )


def _most_informative(look: ProcessTiming, baseline: int) -> tuple[int, TargetTiming | None]:
    """The target whose ratio is the least certain, or the only one."""

    def width(index: int) -> float:
        ratio = _log_ratio(look.targets[index])
        return -1.0 if ratio is None else ratio.half_width

    if not look.targets:
        return baseline, None
    index = max(look.targets, key=width)
    return index, look.targets[index]


def _log_ratio(timing: TargetTiming | None) -> Interval | None:
    return None if timing is None or timing.eager is None else timing.eager.log_ratio


def _triple(interval: Interval) -> tuple[float, float, float]:
    return interval.centre, interval.low, interval.high
