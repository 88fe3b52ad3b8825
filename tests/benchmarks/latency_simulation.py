"""How often verdicts are right, on simulated machines whose noise is known: every condition, no clock.

    python -m tests.benchmarks.latency_simulation                   (10 min; --trials 40: 2 min)

Every trial is one `compare` of a block of 0.6 ms with itself and with blocks that take 5% and 10% more, carried out by
the tool's own session, rounds' statistics, looks, replacement of processes and verdicts; only the worker processes are
replaced by a machine that makes up what they would have seen. Instances of one block differ by 0.5% from process to
process, processes by 0.7%, calls by 2% with a tail of slow ones. Prints, by condition, how often the identical pair was
called different (A/A), how often the others were found, and how often the intervals cover the true ratio.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from convbench.case import Case
from convbench.measures.latency.combine import comparison_of
from convbench.measures.latency.result import LatencyComparison
from convbench.measures.latency.session import Session
from convbench.measures.latency.settings import COMPARE, LatencySettings
from convbench.measures.latency.timing import job
from convbench.measures.latency.timing.beacon import CONTROL
from convbench.measures.latency.timing.clock import CpuClock, Sample
from convbench.measures.latency.timing.noise import disturbance
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.result import ProcessTiming, TargetTiming
from convbench.measures.latency.timing.rounds import Lane
from convbench.target.packed import Packed

PAIRS = {1: 1.0, 2: 1.05, 3: 1.10}
"""True ratios of the targets to target 0."""
_CALL_S = 0.6e-3
_PRIMINGS = 2


@dataclass
class Machine:
    """One that other things run on as well. s.

    now: its time. slices: mean lengths of the times in which the process runs and in which others do, exponential, from
    ``busy_from`` until ``busy_until``. quota: share of every tenth of a second that the process may use, if any.
    swell: how much dearer a call is while others run, by what they take of caches and memory.
    trend: by how much everything slows down in a minute. wander: standard deviation, a second, of a random walk on top.
    slow: share of instances that lie badly in memory, and are 4% slower for the life of their process.
    """

    rng: np.random.Generator
    slices: tuple[float, float] | None = None
    busy_from: float = 0.0
    busy_until: float = math.inf
    quota: float | None = None
    swell: float = 0.0
    trend: float = 0.0
    wander: float = 0.0
    slow: float = 0.0
    now: float = 0.0
    _slice_ends: float = field(default=-1.0)
    _used: float = 0.0
    _period: int = -1
    _drift: float = 0.0
    _drifted_at: float = 0.0

    @property
    def is_busy(self) -> bool:
        return self.slices is not None and self.busy_from <= self.now < self.busy_until

    def instance(self) -> float:
        """How one instance in one process differs from another."""
        return float(np.exp(self.rng.normal(0, 0.005)) * (1.04 if self.rng.random() < self.slow else 1.0))

    def speed(self) -> float:
        """What a call takes at present, against an idle machine."""
        if self.wander and self.now > self._drifted_at:
            self._drift += self.rng.normal(0, self.wander * math.sqrt(self.now - self._drifted_at))
            self._drifted_at = self.now
        return math.exp(self.trend * self.now / 60 + self._drift) * (1 + self.swell * self.is_busy)

    def work(self, seconds: float) -> None:
        """Be on the processor for so long, off it whenever others are or the quota is spent."""
        while seconds > 0:
            step = min(seconds, self._left_of_slice(), self._left_of_quota())
            self.now += step
            self._used += step
            seconds -= step

    def _left_of_slice(self) -> float:
        if not self.is_busy:
            return math.inf if self.slices is None or self.now >= self.busy_until else self.busy_from - self.now
        assert self.slices is not None
        if self.now >= self._slice_ends:
            if self._slice_ends > 0:
                self.now += self.rng.exponential(self.slices[1])
            self._slice_ends = self.now + self.rng.exponential(self.slices[0])
        return max(self._slice_ends - self.now, 1e-9)

    def _left_of_quota(self) -> float:
        if self.quota is None:
            return math.inf
        if int(self.now / 0.1) != self._period:
            self._period, self._used = int(self.now / 0.1), 0.0
        if self._used >= self.quota * 0.1:
            self.now = (self._period + 1) * 0.1 + 1e-9
            self._period, self._used = self._period + 1, 0.0
        return max(self.quota * 0.1 - self._used, 1e-9)


CONDITIONS: Mapping[str, Callable[[np.random.Generator], Machine]] = {
    "quiet": Machine,
    "drift": lambda rng: Machine(rng, trend=rng.choice([-1, 1]) * 0.3, wander=0.03),
    "busy": lambda rng: Machine(rng, slices=(4e-3, 1e-3), swell=0.05),
    "fought over": lambda rng: Machine(rng, slices=(4e-3, 4e-3), swell=0.1),
    "load midway": lambda rng: Machine(rng, slices=(4e-3, 4e-3), busy_from=rng.uniform(0.5, 3.0), swell=0.1),
    "load at first": lambda rng: Machine(rng, slices=(4e-3, 4e-3), busy_until=rng.uniform(0.5, 3.0), swell=0.1),
    "bursts": lambda rng: Machine(rng, slices=(40e-3, 15e-3), swell=0.1),
    "quota 50%": lambda rng: Machine(rng, quota=0.5),
    "quota 20%": lambda rng: Machine(rng, quota=0.2),
    "slow instances": lambda rng: Machine(rng, slow=0.1),
}


class Workers:
    """Takes the place of the pool: what is asked of a process is made up by the machine."""

    waiting = 0
    killed = False

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder

    def wait_ready(self) -> None: ...

    @contextmanager
    def worker(self) -> Any:
        yield self

    def run(self, request: Mapping[str, Any], **_: object) -> Any:
        return self._timed(Order.from_request(request)).to_json()

    def _timed(self, order: Order) -> ProcessTiming:
        machine = self.machine
        owners = [0, CONTROL, *PAIRS]
        process = float(np.exp(machine.rng.normal(0, 0.007)))
        costs = {owner: _CALL_S * PAIRS.get(owner, 1.0) * process * machine.instance() for owner in owners}
        clock = CpuClock(cpu_time=True)
        lanes = {owner: Lane(owner, lambda: None, nullcontext, clock) for owner in owners}
        machine.work(0.2 * len(owners))  # warming up
        started, look, rounds = machine.now, job.FIRST_LOOK, 0
        while True:
            while rounds < look and machine.now - started < order.budget_s * (len(owners) - 1):
                for owner in machine.rng.permutation(owners):
                    lanes[owner].samples.append(_sample(machine, costs[owner]))
                rounds += 1
            timing = _timing(lanes, rounds, machine.now - started)
            if rounds < look or job.precise(timing, order.precision, order.margin):
                return timing
            look *= 2


def _sample(machine: Machine, cost: float) -> Sample:
    begun, used = machine.now, 0.0
    for call in range(_PRIMINGS + 1):
        start = machine.now
        jitter = math.exp(machine.rng.normal(0, 0.02)) + (machine.rng.random() < 0.02) * machine.rng.exponential(0.5)
        work = cost * machine.speed() * jitter
        machine.work(work)
        used += work
        if call == _PRIMINGS:
            wall = machine.now - start
    return Sample(wall * 1e9, int((machine.now - begun) * 1e9), int(used * 1e9), primings=_PRIMINGS)


def _timing(lanes: Mapping[int, Lane], rounds: int, elapsed_s: float) -> ProcessTiming:
    found = {}
    for owner, lane in lanes.items():
        bases = [] if owner == 0 else [lanes[0]] if owner == CONTROL else [lanes[0], lanes[CONTROL]]
        noise = disturbance(lane.samples, 1, 500.0, 0.0)
        found[owner] = TargetTiming(eager=job._column(lane, bases), disturbance=noise, first_ms=1.0)
    control = found.pop(CONTROL)
    return ProcessTiming(targets=found, control=control, rounds=rounds, elapsed_s=elapsed_s)


def trial(condition: str, seed: int) -> tuple[LatencyComparison, float]:
    """One comparison under a condition, and the seconds that it would have taken."""
    machine = CONDITIONS[condition](np.random.default_rng(seed))
    settings = LatencySettings(seed=1000 * seed)
    cases = [Packed(Case("Module", size=size), "module.pt") for size in range(1, len(PAIRS) + 2)]
    with TemporaryDirectory() as folder:
        workers: Any = Workers(machine, Path(folder))
        replicates, budget_s = settings.replicates(COMPARE), settings.budget_s(COMPARE)
        session = Session(cases, 0, settings, replicates, budget_s, workers, lambda _: None)
        gathered = session.run()
    return comparison_of(gathered, len(cases), 0, settings), machine.now


def summary(condition: str, trials: int, seed: int = 0) -> dict[str, float]:
    """The figures of a condition, as shares; width: median half-width of the intervals; seconds: of a comparison."""
    found = [trial(condition, seed + number) for number in range(trials)]
    ratios = {index: [comparison.ratios[index] for comparison, _ in found] for index in PAIRS}

    def share(index: int, *verdicts: str) -> float:
        return statistics.fmean(ratio is not None and ratio.verdict in verdicts for ratio in ratios[index])

    covered = [
        ratio is not None and ratio.low is not None and ratio.high is not None and ratio.low <= true <= ratio.high
        for index, true in PAIRS.items()
        for ratio in ratios[index]
    ]
    widths = [math.log(r.high / r.low) / 2 for rs in ratios.values() for r in rs if r and r.low and r.high]
    return {
        "A/A false": share(1, "faster", "slower"),
        "A/A same": share(1, "same"),
        "+5%": share(2, "slower"),
        "+10%": share(3, "slower"),
        "covered": statistics.fmean(covered),
        "width": statistics.median(widths),
        "wrong": statistics.fmean(share(index, "faster", "same") for index in (2, 3)),
        "seconds": statistics.fmean(seconds for _, seconds in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CONDITIONS, action="append", help="these conditions alone; repeatable")
    arguments = parser.parse_args()
    print(f"{'condition':<16} A/A false  A/A same    +5%   +10%  wrong  covered  ± width  seconds")
    for condition in arguments.only or CONDITIONS:
        row = summary(condition, arguments.trials, arguments.seed)
        print(
            f"{condition:<16} {row['A/A false']:>9.1%} {row['A/A same']:>9.0%} {row['+5%']:>6.0%} {row['+10%']:>6.0%} "
            f"{row['wrong']:>6.1%} {row['covered']:>8.1%} {row['width']:>8.2%} {row['seconds']:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
