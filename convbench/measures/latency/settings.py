"""How latency is measured, and how its progress is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from convbench.errors import UsageError, nearest
from convbench.measures.latency.timing.order import Cache
from convbench.reading import shown
from convbench.workers.environment import Allocator

Metric = Literal["time", "instructions"]

_RIGOROUS_PROCESSES = 8
_RIGOROUS_TIME = 3


@dataclass(frozen=True, slots=True)
class Effort:
    """What a kind of measurement takes unless asked otherwise. time_s: for one block in all processes together."""

    processes: int
    time_s: float


PROFILE = Effort(processes=3, time_s=6.0)
COMPARE = Effort(processes=5, time_s=10.0)


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """The timing protocol.

    processes: fresh worker processes; None means 3 for one target, 5 for a comparison, 8 if rigorous.
    max_time_s: longest time for one block in all processes together, after their warm-up; None means 6 for one target,
        10 for each of a comparison; three times that if rigorous.
    precision: half-width, relative, of the interval of each median at which timing stops.
    margin: ratios within 1 ± margin are the same: two instances of one module differ by up to 0.7% through their place
        in memory.
    allocator: ``kept``: freed memory stays with the process (glibc's MALLOC_TOP_PAD_), as in a process that has run for
        long; ``default``: as the allocator does by itself.
    metric: ``time``, or ``instructions`` executed (valgrind), where no clock can be trusted.
    timeout_s: a target that gives no sign of life for so long is stopped.
    force_threads: allow more threads than there are idle cores.
    cache: on accelerators, ``cold`` empties the last cache before each sample, ``warm`` does not. On the CPU caches
        are always warm: an untimed call precedes each sample.
    seed: of the order of the rounds.

    Raises UsageError for values out of range.
    """

    processes: int | None = None
    max_time_s: float | None = None
    precision: float = 0.01
    margin: float = 0.01
    rigorous: bool = False
    metric: Metric = "time"
    allocator: Allocator = "kept"
    timeout_s: float = 300.0
    force_threads: bool = False
    cache: Cache = "cold"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise UsageError(f"processes must be at least 1, got {self.processes}")
        for name in ("max_time_s", "precision", "margin", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be positive, got {value}")
        for name, choices in (("metric", get_args(Metric)), ("allocator", get_args(Allocator))):
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name} {shown(getattr(self, name))} is not one of {', '.join(choices)}."
                    f"{nearest(str(getattr(self, name)), choices)}"
                )

    def replicates(self, effort: Effort) -> int:
        """How many processes to run."""
        return self.processes or (_RIGOROUS_PROCESSES if self.rigorous else effort.processes)

    def budget_s(self, effort: Effort) -> float:
        """Longest time for one block in all processes together."""
        return (self.max_time_s or effort.time_s) * (_RIGOROUS_TIME if self.rigorous else 1)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a measurement is. process: from 1 to processes. phase: what is being done, target: to which case.

    left_s: about how much longer it takes.
    median_ms: of the case just looked at, with its interval in this process; ratio: likewise, to the baseline.
    """

    process: int
    processes: int
    phase: str
    target: str | None = None
    rounds: int = 0
    median_ms: tuple[float, float, float] | None = None
    ratio: tuple[float, float, float] | None = None
    left_s: float | None = None

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", about {self.left_s:.0f} s left"
        text = f"process {self.process}/{self.processes}{left}: {self.phase}"
        if self.target is not None:
            text += f" {self.target}"
        if self.rounds:
            text += f", {self.rounds} rounds"
        if self.median_ms is not None:
            text += ", {:.4g} ms [{:.4g}, {:.4g}]".format(*self.median_ms)
        if self.ratio is not None:
            text += ", {:.3f}× [{:.3f}, {:.3f}]".format(*self.ratio)
        return text
