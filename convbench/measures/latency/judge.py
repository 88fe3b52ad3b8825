"""From the ratios that processes found to verdicts: what may be said, what is withheld, and what would help."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from convbench.measures.latency.result import Control, DeviceRatio, Ratio
from convbench.measures.latency.timing.noise import INVALID, NOISY
from convbench.measures.latency.timing.result import Column, TargetTiming
from convbench.statistics import (
    FEWEST_PROCESSES,
    Interval,
    Replicated,
    Verdict,
    beyond_margin,
    holm,
    replicate,
    verdict,
)


@dataclass(slots=True)
class Gathered:
    """What the processes gave. timings: by target, one a process. failures: the timing that says why a target has none.

    controls: log ratios of the control to the baseline, one a process. interrupted: whether processes are missing.
    """

    timings: dict[int, list[TargetTiming]] = field(default_factory=dict)
    failures: dict[int, TargetTiming] = field(default_factory=dict)
    controls: list[Interval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What the processes say of one ratio. calm: how many of the ``processes`` had enough undisturbed rounds."""

    log_ratio: Replicated
    adjusted_p: float
    verdict: Verdict
    calm: int
    processes: int


def ratios_of(
    gathered: Gathered, count: int, baseline: int, control: Replicated | None, margin: float
) -> tuple[Ratio | None, ...]:
    """Ratios of ``count`` targets to that at ``baseline``, with their verdicts."""
    eager = judged(_pairs(gathered, baseline, "eager", range(count)), margin)
    device = judged(_pairs(gathered, baseline, "device", range(count)), margin)
    said = None if control is None else control_of(control, len(gathered.controls))
    found: list[Ratio | None] = [None] * count
    for index, ratio in eager.items():
        pair = (baseline, index)
        withheld = _withheld(gathered, ratio, control, pair, margin)
        replayed = device.get(index)
        found[index] = _ratio(
            ratio,
            margin,
            said,
            withheld,
            _share(gathered, pair, "interrupted"),
            None if replayed is None else _device_ratio(replayed, _withheld(gathered, replayed, control, pair, margin)),
        )
    return tuple(found)


def judged(pairs: Mapping[int, Sequence[Column]], margin: float) -> dict[int, Judged]:
    """By target; the verdicts are adjusted for all of ``pairs`` together.

    A process that was disturbed so much that too few of its rounds count is left out where three others are there.
    """
    calm = {index: [column for column in columns if not column.is_disturbed] for index, columns in pairs.items()}
    chosen = {index: calm[index] if len(calm[index]) >= FEWEST_PROCESSES else pairs[index] for index in pairs}
    found = {index: replicate([column.log_ratio for column in chosen[index] if column.log_ratio]) for index in chosen}
    adjusted = holm([beyond_margin(ratio, margin) for ratio in found.values()])
    return {
        index: Judged(ratio, p, verdict(ratio, margin, p), len(calm[index]), len(pairs[index]))
        for (index, ratio), p in zip(found.items(), adjusted, strict=True)
    }


def broken(control: Interval | None, processes: int, margin: float) -> str | None:
    """What to say where the control's whole interval lies beyond the margin."""
    limit = math.log1p(margin)
    if control is None or processes < FEWEST_PROCESSES or (-limit <= control.high and control.low <= limit):
        return None
    bounds = control.exp
    return (
        f"two instances of one target differ by over {margin:.3g} here "
        f"({bounds.centre:.3f}× [{bounds.low:.3f}, {bounds.high:.3f}])"
    )


def control_of(log_ratio: Interval, processes: int) -> Control:
    """The control for readers."""
    return Control(math.exp(log_ratio.centre), *bounds(log_ratio, processes))


def bounds(log: Interval, processes: int) -> tuple[float | None, float | None]:
    """The interval of the quantity itself; none below three processes, which do not tell how far others would lie."""
    return (math.exp(log.low), math.exp(log.high)) if processes >= FEWEST_PROCESSES else (None, None)


def spread_not_known(processes: int) -> str:
    """What to say where there is no interval."""
    counted = f"{processes} process{'es' if processes > 1 else ''}"
    return f"spread not known: {counted}, and an interval takes at least --processes {FEWEST_PROCESSES}"


def _pairs(gathered: Gathered, baseline: int, kind: str, indices: Iterable[int]) -> dict[int, list[Column]]:
    """Columns with a ratio; none for the baseline itself, for a target that failed, and where the baseline failed."""
    if baseline in gathered.failures:
        return {}
    found = {
        index: [
            column
            for timing in gathered.timings.get(index, ())
            if (column := getattr(timing, kind)) is not None and column.log_ratio is not None
        ]
        for index in indices
        if index != baseline and index not in gathered.failures
    }
    return {index: columns for index, columns in found.items() if columns}


def _ratio(
    found: Judged,
    margin: float,
    control: Control | None,
    withheld: str | None,
    disturbed: float,
    device: DeviceRatio | None,
) -> Ratio:
    low, high = bounds(found.log_ratio, found.processes)
    said: Verdict = "unclear" if withheld else found.verdict
    return Ratio(
        ratio=math.exp(found.log_ratio.centre),
        low=low,
        high=high,
        verdict=said,
        margin=margin,
        adjusted_p=found.adjusted_p,
        control=control,
        withheld=withheld,
        advice=_advice(found.log_ratio, margin, disturbed) if said == "unclear" and not withheld else None,
        device=device,
    )


def _device_ratio(found: Judged, withheld: str | None) -> DeviceRatio:
    low, high = bounds(found.log_ratio, found.processes)
    return DeviceRatio(math.exp(found.log_ratio.centre), low, high, "unclear" if withheld else found.verdict)


def _withheld(
    gathered: Gathered, found: Judged, control: Interval | None, pair: tuple[int, int], margin: float
) -> str | None:
    """Why there can be no verdict on a target and its baseline, if so."""
    if control is None:
        return "no verdict: no second instance of the baseline could be measured beside it"
    if found.processes < FEWEST_PROCESSES:
        return f"no verdict: {spread_not_known(found.processes)}"
    if found.calm < FEWEST_PROCESSES:
        return (
            f"no verdict: {found.processes - found.calm} of {found.processes} processes were interrupted in over "
            f"{INVALID:.0%} of their rounds and left too few; measure on an idle machine"
        )
    stolen = _share(gathered, pair, "steal")
    if stolen >= INVALID:
        return f"no verdict: {stolen:.0%} of the processor time was given to other machines on this host"
    differing = broken(control, len(gathered.controls), margin)
    return f"no verdict: {differing}" if differing else None


def _advice(log_ratio: Replicated, margin: float, disturbed: float) -> str:
    """Why there is no clearer verdict, and what would help."""
    limit, interval = math.log1p(margin), log_ratio.exp
    shown = f"[{interval.low:.3f}, {interval.high:.3f}]"
    excludes_one = not log_ratio.low <= 0 <= log_ratio.high
    if -limit <= log_ratio.low and log_ratio.high <= limit:
        return f"they differ, but by less than the margin of {100 * margin:.3g}%: {shown} holds no 1"
    what = (
        f"they differ, but {shown} does not say whether by over {100 * margin:.3g}%"
        if excludes_one
        else f"the interval {shown} is wider than the margin of {100 * margin:.3g}%"
    )
    if disturbed >= NOISY:
        return f"{what}: end what else runs here ({disturbed:.0%} of the samples were interrupted), or more --max-time"
    return f"{what}: --rigorous, or more --processes and --max-time, would narrow it"


def _share(gathered: Gathered, indices: Iterable[int], name: str) -> float:
    """The largest share of a disturbance of these targets, mean over processes."""
    seen = [
        [getattr(timing.disturbance, name) or 0.0 for timing in gathered.timings.get(index, ()) if timing.disturbance]
        for index in indices
    ]
    return max((mean(shares) for shares in seen if shares), default=0.0)
