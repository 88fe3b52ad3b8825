"""From what each process found to what is reported: medians, ratios, noise, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

from convbench.measures.latency.result import Control, DeviceLatency, Latency, LatencyComparison, Ratio
from convbench.measures.latency.settings import LatencySettings
from convbench.measures.latency.timing.noise import INVALID, NOISY, grade
from convbench.measures.latency.timing.result import Column, TargetTiming
from convbench.statistics import Interval, Replicated, beyond_margin, holm, replicate, verdict

_CONTROL_FACTOR = 1.5
_LAUNCH_BOUND = 1.2


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


def comparison_of(gathered: Gathered, count: int, baseline: int, settings: LatencySettings) -> LatencyComparison:
    """The report on ``count`` targets, ratios to the one at ``baseline``."""
    control = replicate(gathered.controls) if gathered.controls else None
    broken = _broken(control, settings.margin)
    latencies = tuple(_latency(gathered, index, broken, settings) for index in range(count))
    margin = settings.margin if control is None else max(settings.margin, math.expm1(_CONTROL_FACTOR * _upper(control)))
    paired = {index: replicate(found) for index in range(count) if (found := _log_ratios(gathered, index, baseline))}
    adjusted = dict(zip(paired, holm([beyond_margin(ratio, margin) for ratio in paired.values()]), strict=True))
    ratios = {
        index: _ratio(
            log_ratio,
            margin,
            adjusted[index],
            control,
            _withheld((latencies[baseline], latencies[index]), control, broken),
            _device_ratio(gathered, index),
        )
        for index, log_ratio in paired.items()
    }
    return LatencyComparison(
        latencies=latencies,
        ratios=tuple(ratios.get(index) for index in range(count)),
        baseline=baseline,
        control=None if control is None else _control(control),
        notes=tuple(dict.fromkeys(gathered.notes)),
    )


def _latency(gathered: Gathered, index: int, broken: str | None, settings: LatencySettings) -> Latency:
    failed = gathered.failures.get(index)
    timings = [timing for timing in gathered.timings.get(index, ()) if timing.eager is not None]
    if failed is not None:
        return Latency(status=failed.status, error=failed.error, notes=failed.notes)
    if not timings:
        return Latency(status="interrupted", error="interrupted before its first process was done")
    columns = [timing.eager for timing in timings if timing.eager is not None]
    middle = _median(columns)
    shares = _shares(timings, columns)
    noise = "invalid" if broken else grade(max(shares.values()))
    compiled = [timing.compile_ms for timing in timings if timing.compile_ms is not None]
    return Latency(
        median_ms=middle.centre,
        low_ms=middle.low,
        high_ms=middle.high,
        p10_ms=_geometric_mean(column.p10_ms for column in columns),
        p90_ms=_geometric_mean(column.p90_ms for column in columns),
        first_ms=median(timing.first_ms for timing in timings if timing.first_ms is not None),
        compile_ms=max(compiled, default=None),
        samples=sum(column.samples for column in columns),
        processes=len(columns),
        noise=noise,
        outlier_share=mean(column.outlier_share for column in columns),
        throughput_per_s=1e3 * timings[0].batch / middle.centre,
        calls_per_sample=timings[0].calls_per_sample,
        kernels=next((timing.kernels for timing in timings if timing.kernels), ()),
        device=_device(timings, middle.centre, settings),
        notes=tuple(
            dict.fromkeys(
                [
                    *([broken] if broken else []),
                    *_explanations(shares, timings),
                    *(note for timing in timings for note in timing.notes),
                ]
            )
        ),
        status="interrupted" if gathered.interrupted else "ok",
        error="interrupted before all processes were done" if gathered.interrupted else None,
    )


def _median(columns: Sequence[Column]) -> Interval:
    return replicate([_log(column.median_ms) for column in columns]).exp


def _device(timings: Sequence[TargetTiming], eager_ms: float, settings: LatencySettings) -> DeviceLatency | None:
    columns = [timing.device for timing in timings if timing.device is not None]
    if not columns:
        return None
    middle = _median(columns)
    bound = eager_ms / middle.centre > _LAUNCH_BOUND
    return DeviceLatency(middle.centre, middle.low, middle.high, bound, settings.cache)


def _shares(timings: Sequence[TargetTiming], columns: Sequence[Column]) -> Mapping[str, float]:
    """What disturbed a target, as shares: means over processes, and the spread between them."""
    seen = [timing.disturbance for timing in timings if timing.disturbance is not None]
    logs = [math.log(column.median_ms.centre) for column in columns]
    return {
        "interrupted": mean([one.interrupted or 0.0 for one in seen] or [0.0]),
        "faults": mean([one.faults for one in seen] or [0.0]),
        "steal": mean([one.steal or 0.0 for one in seen] or [0.0]),
        "spread": stdev(logs) if len(logs) > 1 else 0.0,
    }


def _explanations(shares: Mapping[str, float], timings: Sequence[TargetTiming]) -> list[str]:
    faults = mean([timing.disturbance.faults_per_call for timing in timings if timing.disturbance] or [0.0])
    texts = {
        "interrupted": "{:.0%} of its samples were interrupted: other processes want the same cores",
        "faults": "{:.0%} of its time goes into " + f"{faults:.0f} page faults a call: its tensors outgrow the heap",
        "steal": "{:.0%} of the processor time was given to other machines on this host",
        "spread": "its processes differ by {:.0%} (standard deviation of their medians)",
    }
    return [text.format(shares[name]) for name, text in texts.items() if shares[name] >= NOISY]


def _log_ratios(gathered: Gathered, index: int, baseline: int) -> list[Interval]:
    """One a process; none for the baseline itself, for a target that failed, and where the baseline failed."""
    if index == baseline or index in gathered.failures or baseline in gathered.failures:
        return []
    columns = [timing.eager for timing in gathered.timings.get(index, ()) if timing.eager is not None]
    return [column.log_ratio for column in columns if column.log_ratio is not None]


def _device_ratio(gathered: Gathered, index: int) -> float | None:
    columns = [timing.device for timing in gathered.timings[index] if timing.device is not None]
    ratios = [column.log_ratio for column in columns if column.log_ratio is not None]
    return replicate(ratios).exp.centre if ratios else None


def _ratio(
    log_ratio: Replicated,
    margin: float,
    adjusted_p: float,
    control: Interval | None,
    withheld: str | None,
    device_ratio: float | None,
) -> Ratio:
    bounds = log_ratio.exp
    return Ratio(
        ratio=bounds.centre,
        low=bounds.low,
        high=bounds.high,
        verdict="unclear" if withheld else verdict(log_ratio, margin, adjusted_p),
        margin=margin,
        adjusted_p=adjusted_p,
        control=None if control is None else _control(control),
        device_ratio=device_ratio,
        withheld=withheld,
    )


def _withheld(pair: Sequence[Latency], control: Interval | None, broken: str | None) -> str | None:
    """Why there can be no verdict on a target and its baseline, if so."""
    if control is None:
        return "no verdict: no second instance of the baseline could be measured beside it"
    if broken:
        return f"no verdict: {broken}"
    if "invalid" in (latency.noise for latency in pair):
        return f"no verdict: at least {INVALID:.0%} of the samples were disturbed; measure on an idle machine"
    return None


def _broken(control: Interval | None, margin: float) -> str | None:
    """What to say where the control's whole interval lies beyond the margin."""
    limit = math.log1p(margin)
    if control is None or (-limit <= control.high and control.low <= limit):
        return None
    bounds = control.exp
    return (
        "two instances of one target differ beyond the margin here "
        f"({bounds.centre:.3f}× [{bounds.low:.3f}, {bounds.high:.3f}])"
    )


def _upper(control: Interval) -> float:
    return max(abs(control.low), abs(control.high))


def _control(log_ratio: Interval) -> Control:
    bounds = log_ratio.exp
    return Control(bounds.centre, bounds.low, bounds.high)


def _log(interval: Interval) -> Interval:
    return Interval(math.log(interval.centre), math.log(interval.low), math.log(interval.high))


def _geometric_mean(values: Iterable[float]) -> float:
    return math.exp(mean(math.log(value) for value in values))
