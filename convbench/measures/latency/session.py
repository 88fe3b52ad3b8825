"""The worker processes of one measurement, one after another: what they are asked, and what becomes of the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.measures.latency.judge import Gathered
from convbench.measures.latency.pool import Pool
from convbench.measures.latency.settings import LatencySettings, Progress
from convbench.measures.latency.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.measures.latency.timing.noise import INVALID
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.result import ProcessTiming, TargetTiming
from convbench.reference import labels
from convbench.statistics import Interval
from convbench.target.packed import Packed, pack
from convbench.workers.pool import Failure
from convbench.workers.process import WorkerCrash

Tell = Callable[[Progress], None]


@dataclass(slots=True)
class Session:
    """Cases measured in the same rounds by ``replicates`` processes.

    A process that something else disturbed is replaced while there is time: of all that were run, the calmest count.

    budget_s: longest time for one case in all processes together, their warm-up aside.
    until: time of `time.monotonic` after which what is being timed is given up. blameless: signals from outside;
        the end of a process by one is raised.
    groups: indices that share a process, the baseline first in each; one group unless memory is short.
    """

    cases: Sequence[Case | Packed]
    baseline: int
    settings: LatencySettings
    replicates: int
    budget_s: float
    pool: Pool
    tell: Tell
    until: float | None = None
    blameless: Collection[int] = ()
    gathered: Gathered = field(default_factory=Gathered)
    groups: list[list[int]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _packed: list[Packed] = field(default_factory=list)
    _look: ProcessTiming | None = None
    _since: float = 0.0
    _took_s: list[float] = field(default_factory=list)
    _taken: list[ProcessTiming] = field(default_factory=list)
    _eager_only: dict[int, str] = field(default_factory=dict)

    def run(self) -> Gathered:
        """Measure. Ctrl-C ends it with what was complete, and sets ``interrupted``."""
        others = [index for index in range(len(self.cases)) if index != self.baseline]
        self.groups = [[self.baseline, *others]]
        self._packed = [pack(case, self.pool.folder) for case in self.cases]
        self._names = labels([packed.case for packed in self._packed])
        try:
            count = self.pool.waiting
            self.tell(Progress(1, self.replicates, f"starting {count} process{'es' if count > 1 else ''}"))
            self.pool.wait_ready()
            number = 0
            while number < self.replicates or self._has_time_for_another(number):
                self._since = time.monotonic()
                self._replicate(number)
                self._took_s.append(time.monotonic() - self._since)
                number += 1
        except KeyboardInterrupt:
            self.gathered.interrupted = True
            if self._look is not None:
                self._keep(self._look)
        self._gather()
        return self.gathered

    def _has_time_for_another(self, number: int) -> bool:
        """Whether one of those that count was disturbed, and what they left of the time is enough for one more.

        At most as many again as were asked for; none where memory split the targets into groups.
        """
        if len(self.groups) > 1 or number >= 2 * self.replicates or not self._taken:
            return False
        calmest = sorted(timing.disturbed for timing in self._taken)[: self.replicates]
        targets = len(self.cases) - len(self.gathered.failures)
        left_s = self.budget_s * targets - sum(timing.elapsed_s for timing in self._taken)
        return calmest[-1] >= INVALID and left_s >= max(timing.elapsed_s for timing in self._taken)

    def _gather(self) -> None:
        """Hand over what the processes found, without the most disturbed of those that were one too many."""
        spare = max(0, len(self._taken) - self.replicates) if len(self.groups) == 1 else 0
        ranked = sorted(self._taken, key=lambda timing: timing.disturbed, reverse=True)
        left_out = {id(timing) for timing in ranked[:spare]}
        gathered = self.gathered
        if spare:
            gathered.notes.append(f"{spare} of {len(self._taken)} processes left out: others wanted the same cores")
        for timing in self._taken:
            if id(timing) in left_out:
                continue
            for index, target in timing.targets.items():
                if target.status == "ok":
                    gathered.timings.setdefault(index, []).append(target)
            ratio = _log_ratio(timing.control)
            if ratio is not None:
                gathered.controls.append(ratio)
            gathered.notes.extend(timing.notes)

    def _replicate(self, number: int) -> None:
        at = 0
        while at < len(self.groups):  # a group that memory has no room for splits while it is measured
            self._measure_group(at, number)
            at += 1

    def _measure_group(self, at: int, number: int) -> None:
        """Measure one group; a target that hangs or takes the process with it is left out, and the rest redone."""
        while members := [index for index in self.groups[at] if index not in self.gathered.failures]:
            if at and members == [self.baseline]:
                return  # the others of this group have failed, and the first group has the baseline
            beacon = self.pool.folder / "beacon"
            Beacon.create(beacon)
            try:
                timing = self._ask(self._order(members, number, beacon), number)
            except MeasurementError as error:
                self._look = None
                if self.pool.killed:
                    raise KeyboardInterrupt from None
                self._blame(Beacon.read(beacon), at, members, error)
                continue
            self._look = None
            if timing.unreplayable:
                self._eager_only |= timing.unreplayable
                continue
            self._keep(timing)
            if timing.deferred:
                self.groups[at] = [index for index in self.groups[at] if index not in timing.deferred]
                self.groups.append([self.baseline, *timing.deferred])
            return

    def _order(self, members: Sequence[int], number: int, beacon: Path) -> Order:
        settings = self.settings
        return Order(
            cases={index: self._packed[index] for index in members},
            baseline=self.baseline if self.baseline in members else None,
            threads=self._packed[self.baseline].case.threads,
            budget_s=self.budget_s / self.replicates,
            # What is reported is a mean over processes: each need not be as precise as that.
            precision=settings.precision * math.sqrt(self.replicates),
            margin=settings.margin * math.sqrt(self.replicates),
            seed=settings.seed + number,
            cache=settings.cache,
            kernels=number == 0,
            shuffled=number > 0 and len(self.groups) == 1,  # the first process found out that all of them fit
            beacon=beacon,
            eager_only={index: why for index, why in self._eager_only.items() if index in members},
        )

    def _ask(self, order: Order, number: int) -> ProcessTiming:
        def hear(message: Mapping[str, Any]) -> None:
            if "look" in message:
                self._look = ProcessTiming.from_json(message["look"])
            self.tell(self._progress(message, number))

        with self.pool.worker() as worker:
            left_s = None if self.until is None else max(0.0, self.until - time.monotonic())
            limit_s = self.settings.timeout_s
            answer = worker.run(order.to_request(), timeout_s=limit_s, deadline_s=left_s, on_message=hear)
        return ProcessTiming.from_json(answer)

    def _keep(self, timing: ProcessTiming) -> None:
        self._taken.append(timing)
        for index, target in timing.targets.items():
            if target.status != "ok":
                self.gathered.failures[index] = target

    def _blame(self, owner: int, at: int, members: Sequence[int], error: MeasurementError) -> None:
        """Find who hung, crashed or ended the job, and leave that target out; raise where it was nobody's turn."""
        crash = error if isinstance(error, WorkerCrash) else None
        if owner == NOBODY or (crash is not None and -crash.exit_code in self.blameless):
            raise error
        index = members[0] if owner == CONTROL else owner
        killed = crash is not None and crash.killed
        if killed and len(members) > 2 and index != members[0]:  # it may fit into memory beside the baseline alone
            self.groups[at] = [member for member in self.groups[at] if member != index]
            self.groups.append([self.baseline, index])
            return
        failure = Failure.of(error)
        self.gathered.failures[index] = TargetTiming(failure.status, failure.reason, failure.kind)

    def _left_s(self, number: int) -> float:
        """About how much longer: by the processes that are done, before that by the budget."""
        each = max(self._took_s, default=self.budget_s * len(self.cases) / self.replicates)
        return max(0.0, each - (time.monotonic() - self._since)) + each * max(0, self.replicates - number - 1)

    def _progress(self, message: Mapping[str, Any], number: int) -> Progress:
        return replace(self._state(message, number), left_s=self._left_s(number))

    def _state(self, message: Mapping[str, Any], number: int) -> Progress:
        where = (number + 1, max(number + 1, self.replicates))
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
