"""What one worker process found out about its targets, as dataclasses and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convbench.measures.latency.timing.noise import Disturbance
from convbench.statistics import Interval

Status = Literal["ok", "oom", "timeout", "error", "interrupted"]


@dataclass(frozen=True, slots=True)
class Column:
    """Times of one kind of call in one process, ms; ``log_ratio`` to the baseline's, paired by rounds."""

    median_ms: Interval
    p10_ms: float
    p90_ms: float
    samples: int
    outlier_share: float
    log_ratio: Interval | None


@dataclass(frozen=True, slots=True)
class TargetTiming:
    """One target in one process. ``eager``: called by the host; ``device``: replayed as a graph.

    error_type: class of the exception where status is not ``ok``. first_ms: the first call (of a compiled target, the
    first after the call that compiles, whose time is compile_ms). calls_per_sample: of the eager column.
    """

    status: Status = "ok"
    error: str | None = None
    error_type: str | None = None
    eager: Column | None = None
    device: Column | None = None
    disturbance: Disturbance | None = None
    first_ms: float | None = None
    compile_ms: float | None = None
    calls_per_sample: int = 1
    batch: int = 1
    kernels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessTiming:
    """One worker process: its targets by their index, and the control, a second instance of the baseline.

    deferred: targets that did not fit into memory beside the others. rounds: completed, and dropped because the device
    was held back. notes: what holds for all targets.
    """

    targets: Mapping[int, TargetTiming]
    control: TargetTiming | None = None
    deferred: tuple[int, ...] = ()
    rounds: int = 0
    dropped_rounds: int = 0
    notes: tuple[str, ...] = ()

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
