"""What to measure of a case, and how. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from convbench.errors import UsageError, nearest
from convbench.reading import shown

if TYPE_CHECKING:
    from convbench.measures.erf import ErfSettings
    from convbench.measures.latency import LatencySettings

Measure = Literal["params", "cost", "latency", "memory", "erf"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how. ``None`` settings mean each measure's own defaults."""

    measures: tuple[Measure, ...] = MEASURES
    strict: bool = False
    latency: LatencySettings | None = None
    erf: ErfSettings | None = None


def check_measures(names: Sequence[str] | None, device: str) -> tuple[Measure, ...]:
    """The measures to take: those named, or all that ``device`` can do. Raises UsageError."""
    possible = tuple(name for name in MEASURES if device != "meta" or name not in ("latency", "erf"))
    if not names:
        return possible
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"measure {shown(name)} is not one of {', '.join(MEASURES)}.{nearest(name, MEASURES)}")
        if name not in possible:
            raise UsageError(
                f"measure {name!r} cannot be taken on {device}, where nothing is computed; use --device cpu"
            )
    return tuple(name for name in MEASURES if name in names)
