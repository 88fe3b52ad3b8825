"""What one worker process found out about its targets, as dataclasses and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Literal

from convbench.measures.latency.timing.noise import INVALID, Disturbance
from convbench.statistics import Interval

Status = Literal["ok", "oom", "timeout", "error", "interrupted"]

FEWEST_ROUNDS = 20
"""Of a process: below them a figure is noisy, and a process with fewer undisturbed ones is disturbed."""


@dataclass(frozen=True, slots=True)
class Column:
    """Times of one kind of call in one process, ms.

    log_ratio: to the baseline's, the mean of its two instances, paired by rounds. calm: the rounds, of ``samples``, in
    which no part of the pair was taken off its processor; the ratio is of these where they are enough.
    """

    median_ms: Interval
    p10_ms: float
    p90_ms: float
    samples: int
    outlier_share: float
    log_ratio: Interval | None
    calm: int | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether most rounds were, and too few others are left."""
        calm = self.samples if self.calm is None else self.calm
        return calm < FEWEST_ROUNDS and calm <= (1 - INVALID) * self.samples


@dataclass(frozen=True, slots=True)
class TargetTiming:
    """One target in one process. ``eager``: called by the host; ``device``: replayed as a graph.

    error_type: class of the exception where status is not ``ok``. first_ms: the first call (of a compiled target, the
    first after the call that compiles, whose time is compile_ms). export_ms, session_ms: of another runtime's, where
    this process exported it, and loaded it. calls_per_sample: of the eager column.
    """

    status: Status = "ok"
    error: str | None = None
    error_type: str | None = None
    eager: Column | None = None
    device: Column | None = None
    disturbance: Disturbance | None = None
    first_ms: float | None = None
    compile_ms: float | None = None
    export_ms: float | None = None
    session_ms: float | None = None
    calls_per_sample: int = 1
    batch: int = 1
    kernels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessTiming:
    """One worker process: its targets by their index, and the control, a second instance of the baseline.

    deferred: targets that did not fit into memory beside the others. rounds: completed, and dropped because the device
    was held back. elapsed_s: of the rounds. unreplayable: targets that cannot be captured as a graph, and why; then
    nothing was timed. notes: what holds for all targets.
    """

    targets: Mapping[int, TargetTiming]
    control: TargetTiming | None = None
    deferred: tuple[int, ...] = ()
    rounds: int = 0
    dropped_rounds: int = 0
    elapsed_s: float = 0.0
    unreplayable: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def disturbed(self) -> float:
        """The share of its samples, means over targets, that something else interrupted or took time from."""
        seen = [target.disturbance for target in self.targets.values() if target.disturbance is not None]
        return mean([max(one.interrupted or 0.0, one.steal or 0.0) for one in seen] or [0.0])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values from which `from_json` restores an equal object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ProcessTiming:
        """The object that `to_json` described, with JSON's own types for keys and sequences."""
        return cls(
            targets={int(index): _target(target) for index, target in row["targets"].items()},
            control=None if row["control"] is None else _target(row["control"]),
            deferred=tuple(row["deferred"]),
            rounds=row["rounds"],
            dropped_rounds=row["dropped_rounds"],
            elapsed_s=row["elapsed_s"],
            unreplayable={int(index): why for index, why in row["unreplayable"].items()},
            notes=tuple(row["notes"]),
        )


def _target(row: Mapping[str, Any]) -> TargetTiming:
    noise = row["disturbance"]
    return TargetTiming(
        **{
            **row,
            "eager": _column(row["eager"]),
            "device": _column(row["device"]),
            "disturbance": None if noise is None else Disturbance(**noise),
            "kernels": tuple(row["kernels"]),
            "notes": tuple(row["notes"]),
        }
    )


def _column(row: Mapping[str, Any] | None) -> Column | None:
    if row is None:
        return None
    ratio = row["log_ratio"]
    return Column(
        **{
            **row,
            "median_ms": Interval(**row["median_ms"]),
            "log_ratio": None if ratio is None else Interval(**ratio),
        }
    )
