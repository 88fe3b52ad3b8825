"""The latency job of a worker process: targets built, warmed up, and timed in the same rounds until precise enough."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

from convbench.execution.device import use_device
from convbench.execution.headroom import Headroom
from convbench.measures.latency.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.measures.latency.timing.clock import collector_off, fault_cost_ns
from convbench.measures.latency.timing.gpu import Watch
from convbench.measures.latency.timing.noise import StealMeter, disturbance
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.participant import Participant, enlist, failure, make_ready
from convbench.measures.latency.timing.result import Column, ProcessTiming, TargetTiming
from convbench.measures.latency.timing.rounds import Lane, Rounds, Witness
from convbench.statistics import Interval, log_ratio_interval, median_interval, outlier_share
from convbench.target.packed import Packed

FIRST_LOOK = 100
_FEWEST_ROUNDS = 3
_BUILDING = 1  # keeps the order of building apart from that of the rounds

Send = Callable[[Mapping[str, Any]], None]


def run(request: Mapping[str, Any], send: Send) -> Any:
    """Carry out an `Order`; gives a `ProcessTiming` as JSON.

    Messages: ``{"phase": …, "target": index}`` while targets are brought up, ``{"look": ProcessTiming}`` after 100,
    200, 400, … rounds, and ``{"alive": rounds}`` at least once a second between. A target that raises is left out from
    then on; its status and reason are part of the result.
    """
    return _Timing(Order.from_request(request), send).run().to_json()


class _Timing:
    """One worker's timing. ``lost`` holds the targets that failed, ``deferred`` those that memory had no room for."""

    def __init__(self, order: Order, send: Send) -> None:
        self.order = order
        self.send = send
        self.beacon = Beacon(order.beacon)
        self.present: dict[int, Participant] = {}
        self.lost: dict[int, TargetTiming] = {}
        self.deferred: list[int] = []

    def run(self) -> ProcessTiming:
        order = self.order
        device = next(iter(order.cases.values())).case.device
        torch.set_num_threads(order.threads)
        torch.manual_seed(order.seed)
        use_device(device)
        self.fault_cost_ns = fault_cost_ns()
        self.watch = Watch.of(device)
        with collector_off():
            self._bring_up(Headroom.of(device))
            started = perf_counter_ns()
            self._warm_up()
            self.rounds = Rounds(self._lanes(), np.random.default_rng(order.seed), self._witness())
            blocks = max(1, len(self.present) - (CONTROL in self.present))
            timing = self._look_until_precise(started + int(blocks * order.budget_s * 1e9))
        self.beacon.mark(NOBODY)
        return timing

    def _bring_up(self, headroom: Headroom) -> None:
        """Build everyone that memory has room for; without the first and its control there is nothing to tell."""
        first = next(iter(self.order.cases))
        for owner in self._building_order(first):
            short = not headroom.fits_another
            if owner == CONTROL and (short or first in self.lost):
                continue
            if short and owner not in (first, CONTROL) and len(self.present) > 2:
                self.deferred.append(owner)
                continue
            self._enlist(owner, self.order.cases[first if owner == CONTROL else owner])
            headroom.settle()

    def _building_order(self, first: int) -> list[int]:
        """The first, its control, the others; or any order: what is built first lies elsewhere in memory than the rest,
        and the same one being first in every process made it 0.1% slower than its equals."""
        owners = [first, CONTROL, *(owner for owner in self.order.cases if owner != first)]
        if self.order.shuffled:
            np.random.default_rng((self.order.seed, _BUILDING)).shuffle(owners)
        return owners

    def _enlist(self, owner: int, packed: Packed) -> None:
        self._announce("building", owner)
        try:
            self.present[owner] = enlist(
                owner, packed, self.order.cache, kernels=self.order.kernels and owner != CONTROL
            )
        except Exception as error:  # a target's constructor and forward may fail in any way
            status, _ = failure(error)
            if status == "oom" and len(self.present) > 2:
                self.deferred.append(owner)  # it may fit beside the baseline alone
            else:
                self._lose(owner, error)
            error.__traceback__ = None  # the frames hold what was built
            gc.collect()

    def _warm_up(self) -> None:
        for owner, participant in list(self.present.items()):
            self._announce("warming up", owner)
            try:
                replay = participant.case.device_type == "cuda"
                make_ready(participant, self.order.cache, self.order.budget_s, replay=replay)
            except Exception as error:  # see _enlist
                del self.present[owner]
                self._lose(owner, error)

    def _announce(self, phase: str, owner: int) -> None:
        self.beacon.mark(owner)
        self.send({"phase": phase, "target": owner})

    def _lose(self, owner: int, error: Exception) -> None:
        status, reason = failure(error)
        self.lost[owner] = TargetTiming(status, reason, type(error).__name__)

    def _lanes(self) -> list[Lane]:
        return [lane for participant in self.present.values() for lane in participant.lanes]

    def _witness(self) -> Witness:
        return Witness(
            turn=self.beacon.mark,
            alive=lambda: self.send({"alive": self.rounds.completed}),
            trusted=self.watch.chunk_is_trusted,
        )

    def _look_until_precise(self, deadline_ns: int) -> ProcessTiming:
        steal = StealMeter()
        look = FIRST_LOOK
        while True:
            in_time = self.rounds.run(look, deadline_ns, _FEWEST_ROUNDS)
            for owner, error in self.rounds.failed.items():
                if self.present.pop(owner, None) is not None:
                    self._lose(owner, error)
            timing = self._timing(steal.share())
            self.send({"look": timing.to_json()})
            if not in_time or not self.rounds.lanes or precise(timing, self.order.precision, self.order.margin):
                return timing
            gc.collect()
            look *= 2

    def _timing(self, steal: float | None) -> ProcessTiming:
        base = self.present.get(next(iter(self.order.cases)))
        timings = {owner: self._target(participant, base, steal) for owner, participant in self.present.items()}
        timings |= self.lost
        if self.order.baseline is None:
            timings = {owner: timings[owner] if owner == CONTROL else _unpaired(timings[owner]) for owner in timings}
        return ProcessTiming(
            targets={owner: timing for owner, timing in timings.items() if owner != CONTROL},
            control=timings.get(CONTROL),
            deferred=tuple(self.deferred),
            rounds=self.rounds.completed,
            dropped_rounds=self.rounds.dropped,
            notes=self.watch.notes(),
        )

    def _target(self, participant: Participant, base: Participant | None, steal: float | None) -> TargetTiming:
        eager = participant.eager
        assert eager is not None
        if not eager.samples:
            reason = "every sample was dropped: the device ran under 75% of its default clock"
            return TargetTiming("error", reason, "MeasurementError")
        return TargetTiming(
            eager=_column(eager, None if base is None or base is participant else base.eager),
            device=_column(participant.device, None if base is None or base is participant else base.device),
            disturbance=disturbance(eager.samples, eager.repeats, self.fault_cost_ns, steal),
            first_ms=participant.first_ns / 1e6,
            compile_ms=None if participant.compile_ns is None else participant.compile_ns / 1e6,
            calls_per_sample=eager.repeats,
            batch=participant.batch,
            kernels=participant.kernels,
            notes=tuple(participant.notes),
        )


def precise(timing: ProcessTiming, precision: float, margin: float) -> bool:
    """Whether every median's interval is within ±``precision`` and every ratio's within half of ``margin``."""
    everyone = [*timing.targets.values(), *([] if timing.control is None else [timing.control])]
    columns = [column for target in everyone for column in (target.eager, target.device) if column is not None]
    return all(
        _relative(column.median_ms) <= precision
        and (column.log_ratio is None or column.log_ratio.half_width <= margin / 2)
        for column in columns
    )


def _relative(median: Interval) -> float:
    return max(median.high - median.centre, median.centre - median.low) / median.centre


def _column(lane: Lane | None, base: Lane | None) -> Column | None:
    if lane is None or not lane.samples:
        return None
    times = lane.times_ms
    p10, p90 = np.quantile(times, [0.1, 0.9])
    return Column(
        median_ms=median_interval(times),
        p10_ms=float(p10),
        p90_ms=float(p90),
        samples=len(times),
        outlier_share=outlier_share(times),
        log_ratio=None if base is None else log_ratio_interval(times, base.times_ms),
    )


def _unpaired(timing: TargetTiming) -> TargetTiming:
    """Without the ratio, which would refer to a target that is not the baseline."""

    def bare(column: Column | None) -> Column | None:
        return None if column is None else replace(column, log_ratio=None)

    return replace(timing, eager=bare(timing.eager), device=bare(timing.device))
