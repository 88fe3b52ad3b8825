"""The latency job of a worker process: targets built, warmed up, and timed in the same rounds until precise enough."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convbench.errors import DeviceLostError
from convbench.execution.device import Device, use_one_precision
from convbench.execution.headroom import Headroom
from convbench.measures.latency.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.measures.latency.timing.clock import collector_off, fault_cost_ns
from convbench.measures.latency.timing.gpu import Watch
from convbench.measures.latency.timing.noise import StealMeter, disturbance, interruptions
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.participant import Participant, enlist, failure, make_ready, recorded_kernels
from convbench.measures.latency.timing.result import FEWEST_ROUNDS, Column, ProcessTiming, TargetTiming
from convbench.measures.latency.timing.rounds import LEAST_MS, Lane, Rounds, Witness
from convbench.statistics import Interval, log_ratio_interval, median_interval, outlier_share
from convbench.target.packed import Packed

FIRST_LOOK = 50
_ALWAYS_ROUNDS = 3
_BUILDING = 1  # keeps the order of building apart from that of the rounds

Send = Callable[[Mapping[str, Any]], None]


def run(request: Mapping[str, Any], send: Send) -> Any:
    """Carry out an `Order`; gives a `ProcessTiming` as JSON.

    Messages: ``{"phase": …, "target": index}`` while targets are brought up, ``{"look": ProcessTiming}`` after 50,
    100, 200, … rounds, and ``{"alive": rounds}`` at least once a second between. A target that raises is left out from
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
        self.device = Device(device)
        self.device.use()
        use_one_precision()
        self.fault_cost_ns = fault_cost_ns()
        self.watch = Watch.of(self.device)
        with collector_off():
            self._bring_up(Headroom.of(device))
            self._warm_up()
            unreplayable = {owner: one.unreplayable for owner, one in self.present.items() if one.unreplayable}
            if unreplayable:  # a capture that failed leaves its allocator, and more, in a state that others meet
                return ProcessTiming(targets={}, unreplayable=self._by_target(unreplayable))
            self.rounds = Rounds(self._lanes(), np.random.default_rng(order.seed), self._witness())
            blocks = max(1, len(self.present) - (CONTROL in self.present))
            self.started = perf_counter_ns()
            timing = self._look_until_precise(self.started + int(blocks * order.budget_s * 1e9))
            if order.kernels:
                timing = self._with_kernels(timing)
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
            self.present[owner] = enlist(owner, packed, self.order.cache)
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
                why = self.order.eager_only.get(self._target_of(owner))
                if why is not None:
                    participant.notes.append(f"no device column: the call cannot be captured as a CUDA graph ({why})")
                replay = participant.case.device_type == "cuda" and why is None
                make_ready(participant, self.order.cache, self.order.budget_s, replay=replay)
            except Exception as error:  # see _enlist
                del self.present[owner]
                self._lose(owner, error)

    def _announce(self, phase: str, owner: int) -> None:
        self.beacon.mark(owner)
        self.send({"phase": phase, "target": owner})

    def _target_of(self, owner: int) -> int:
        """The control is the first target once more."""
        return next(iter(self.order.cases)) if owner == CONTROL else owner

    def _by_target(self, reasons: Mapping[int, str]) -> dict[int, str]:
        return {self._target_of(owner): reason for owner, reason in reasons.items()}

    def _lose(self, owner: int, error: Exception) -> None:
        status, reason = failure(error)
        if not self.device.works():
            raise DeviceLostError(reason) from None
        self.lost[owner] = TargetTiming(status, reason, type(error).__name__)

    def _lanes(self) -> list[Lane]:
        return [lane for participant in self.present.values() for lane in participant.lanes]

    def _witness(self) -> Witness:
        return Witness(
            turn=self.beacon.mark,
            alive=lambda: self.send({"alive": self.rounds.completed}),
            trusted=self.watch.chunk_is_trusted,
            lost=lambda: not self.device.works(),
        )

    def _look_until_precise(self, deadline_ns: int) -> ProcessTiming:
        steal = StealMeter()
        look = FIRST_LOOK
        while True:
            in_time = self.rounds.run(look, deadline_ns, _ALWAYS_ROUNDS)
            if not in_time:
                self.rounds.make_do()
            for owner, error in self.rounds.failed.items():
                if self.present.pop(owner, None) is not None:
                    self._lose(owner, error)
            timing = self._timing(steal.share())
            self.send({"look": timing.to_json()})
            if not in_time or not self.rounds.lanes or precise(timing, self.order.precision, self.order.margin):
                return timing
            gc.collect()
            look *= 2

    def _with_kernels(self, timing: ProcessTiming) -> ProcessTiming:
        """Kernels are recorded last: a profiler leaves buffers and hooks behind, which later calls would pay for."""
        recorded = dict(timing.targets)
        for owner, participant in self.present.items():
            if owner in recorded and recorded[owner].status == "ok":
                self.beacon.mark(owner)
                kernels, notes = recorded_kernels(participant)
                recorded[owner] = replace(recorded[owner], kernels=kernels, notes=(*recorded[owner].notes, *notes))
        return replace(timing, targets=recorded)

    def _timing(self, steal: float | None) -> ProcessTiming:
        first = next(iter(self.order.cases))
        instances = {owner: self.present[owner] for owner in (first, CONTROL) if owner in self.present}
        timings = {
            owner: self._target(participant, _others(instances, owner, first), steal)
            for owner, participant in self.present.items()
        }
        timings |= self.lost
        if self.order.baseline is None:
            timings = {owner: timings[owner] if owner == CONTROL else _unpaired(timings[owner]) for owner in timings}
        return ProcessTiming(
            targets={owner: timing for owner, timing in timings.items() if owner != CONTROL},
            control=timings.get(CONTROL),
            deferred=tuple(self.deferred),
            rounds=self.rounds.completed,
            dropped_rounds=self.rounds.dropped,
            elapsed_s=(perf_counter_ns() - self.started) / 1e9,
            notes=self.watch.notes(),
        )

    def _target(self, participant: Participant, bases: Sequence[Participant], steal: float | None) -> TargetTiming:
        eager = participant.eager
        assert eager is not None
        notes = [*participant.notes, *_exposed(participant.device)]
        if self.rounds.untrusted:
            notes.append("the device was held back under 75% of its clock all the time: read with care")
        return TargetTiming(
            eager=_column(eager, [base.eager for base in bases]),
            device=_column(participant.device, [base.device for base in bases]),
            disturbance=disturbance(eager.samples, eager.repeats, self.fault_cost_ns, steal),
            first_ms=participant.first_ns / 1e6,
            export_ms=_ms(None if participant.ran is None else participant.ran.export_ns),
            session_ms=_ms(None if participant.ran is None else participant.ran.session_ns),
            compile_ms=_ms(participant.compile_ns),
            calls_per_sample=eager.repeats,
            batch=participant.batch,
            notes=tuple(notes),
        )


def _others(instances: Mapping[int, Participant], owner: int, first: int) -> list[Participant]:
    """The instances of the baseline that ``owner`` is held against: both of them; of the control, the first alone."""
    if owner == first or first not in instances:
        return []
    return [instances[first]] if owner == CONTROL else list(instances.values())


def precise(timing: ProcessTiming, precision: float, margin: float) -> bool:
    """Whether every median's interval is within ±``precision`` and every ratio's within half of ``margin``.

    Those that are reported: the control's are not waited for.
    """
    columns = [column for one in timing.targets.values() for column in (one.eager, one.device) if column is not None]
    return all(
        _relative(column.median_ms) <= precision
        and (column.log_ratio is None or column.log_ratio.half_width <= margin / 2)
        for column in columns
    )


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def _relative(median: Interval) -> float:
    return max(median.high - median.centre, median.centre - median.low) / median.centre


def _column(lane: Lane | None, bases: Sequence[Lane | None]) -> Column | None:
    if lane is None or not lane.samples:
        return None
    times = lane.times_ms
    p10, p90 = np.quantile(times, [0.1, 0.9])
    against = [base for base in bases if base is not None and base.samples]
    calm = _calm([lane, *against])
    chosen = calm if calm.sum() >= FEWEST_ROUNDS else np.ones(len(times), dtype=bool)
    return Column(
        median_ms=_above_zero(_ticked(median_interval(times), lane.resolution_ms)),
        p10_ms=float(p10),
        p90_ms=float(p90),
        samples=len(times),
        outlier_share=outlier_share(times),
        log_ratio=_ticked(
            _log_ratio(times[chosen], [base.times_ms[chosen] for base in against]),
            sum(one.resolution_ms / float(np.median(one.times_ms)) for one in (lane, against[0])),
        )
        if against
        else None,
        calm=int(calm.sum()),
    )


def _ticked(interval: Interval, resolution: float) -> Interval:
    """The interval with what the clock's ticks add to it: no number of samples sees between two of them."""
    return Interval(interval.centre, interval.low - resolution / 2, interval.high + resolution / 2)


def _above_zero(interval: Interval) -> Interval:
    """A time's lower bound where the clock's tick is as long as the time: that of no call."""
    return replace(interval, low=max(interval.low, LEAST_MS))


def _exposed(lane: Lane | None) -> list[str]:
    exposed = getattr(lane.clock, "exposed", 0) if lane is not None else 0
    return [f"the host may be a part of {exposed} device samples: it was slower than the device"] if exposed else []


def _calm(lanes: Sequence[Lane]) -> NDArray[np.bool_]:
    """The rounds in which none of ``lanes`` was taken off its processor, as far as their clocks tell."""
    calm = np.ones(len(lanes[0].samples), dtype=bool)
    for lane in lanes:
        interrupted = interruptions(lane.samples)
        if interrupted is not None:
            calm &= ~interrupted
    return calm


def _log_ratio(times: NDArray[np.float64], baselines: Sequence[NDArray[np.float64]]) -> Interval:
    """To the geometric mean of the baseline's instances: that of two is nearer to the truth than either."""
    return log_ratio_interval(times, np.exp(np.mean([np.log(one) for one in baselines], axis=0)))


def _unpaired(timing: TargetTiming) -> TargetTiming:
    """Without the ratio, which would refer to a target that is not the baseline."""

    def bare(column: Column | None) -> Column | None:
        return None if column is None else replace(column, log_ratio=None)

    return replace(timing, eager=bare(timing.eager), device=bare(timing.device))
