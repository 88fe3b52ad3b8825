"""From what each process found to what is reported: medians, noise, and, judged, ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median, stdev

from convbench.measures.latency.judge import Gathered, bounds, broken, control_of, ratios_of, spread_not_known
from convbench.measures.latency.result import DeviceLatency, Latency, LatencyComparison
from convbench.measures.latency.settings import LatencySettings
from convbench.measures.latency.timing.noise import NOISY, Noise, grade
from convbench.measures.latency.timing.result import FEWEST_ROUNDS, Column, TargetTiming
from convbench.statistics import FEWEST_PROCESSES, Interval, Replicated, replicate
from convbench.workers.environment import allocator_name

_LAUNCH_BOUND = 1.2


def comparison_of(gathered: Gathered, count: int, baseline: int, settings: LatencySettings) -> LatencyComparison:
    """The report on ``count`` targets, ratios to the one at ``baseline``."""
    controls = gathered.controls
    control = replicate(controls) if controls else None
    differing = broken(control, len(controls), settings.margin)
    return LatencyComparison(
        latencies=tuple(_latency(gathered, index, differing, settings) for index in range(count)),
        ratios=ratios_of(gathered, count, baseline, control, settings.margin),
        baseline=baseline,
        control=None if control is None else control_of(control, len(controls)),
        notes=tuple(dict.fromkeys(gathered.notes)),
    )


def _latency(gathered: Gathered, index: int, differing: str | None, settings: LatencySettings) -> Latency:
    failed = gathered.failures.get(index)
    timings = [timing for timing in gathered.timings.get(index, ()) if timing.eager is not None]
    if failed is not None:
        return Latency(status=failed.status, error=failed.error, notes=failed.notes)
    if not timings:
        return Latency(status="interrupted", error="interrupted before its first process was done")
    columns = [timing.eager for timing in timings if timing.eager is not None]
    middle = _median(columns)
    median_ms, (low_ms, high_ms) = math.exp(middle.centre), bounds(middle, len(columns))
    shares = _shares(timings, columns, settings)
    few = _too_few(columns)
    noise: Noise = "invalid" if differing else grade(max(shares.values()))
    compiled, exported, loaded = (
        [value for timing in timings if (value := getattr(timing, name)) is not None]
        for name in ("compile_ms", "export_ms", "session_ms")
    )
    return Latency(
        median_ms=median_ms,
        low_ms=low_ms,
        high_ms=high_ms,
        p10_ms=_geometric_mean(column.p10_ms for column in columns),
        p90_ms=_geometric_mean(column.p90_ms for column in columns),
        first_ms=median(timing.first_ms for timing in timings if timing.first_ms is not None),
        compile_ms=max(compiled, default=None),
        export_ms=max(exported, default=None),
        session_ms=median(loaded) if loaded else None,
        samples=sum(column.samples for column in columns),
        processes=len(columns),
        noise="noisy" if few and noise == "quiet" else noise,
        allocator=allocator_name(settings.allocator),
        outlier_share=mean(column.outlier_share for column in columns),
        throughput_per_s=1e3 * timings[0].batch / median_ms,
        calls_per_sample=timings[0].calls_per_sample,
        kernels=next((timing.kernels for timing in timings if timing.kernels), ()),
        device=_device(timings, median_ms, settings),
        notes=tuple(
            dict.fromkeys(
                [
                    *([differing] if differing else []),
                    *few,
                    *_explanations(shares, timings),
                    *(note for timing in timings for note in timing.notes),
                ]
            )
        ),
        status="interrupted" if gathered.interrupted else "ok",
        error="interrupted before all processes were done" if gathered.interrupted else None,
    )


def _median(columns: Sequence[Column]) -> Replicated:
    """Of the logarithms of the processes' medians."""
    return replicate([_log(column.median_ms) for column in columns])


def _too_few(columns: Sequence[Column]) -> list[str]:
    """What to say where there are too few processes or rounds to know the spread from."""
    texts = []
    fewest = min(column.samples for column in columns)
    if fewest < FEWEST_ROUNDS:
        rounds = f"{fewest} round{'s' if fewest > 1 else ''}"
        texts.append(f"only {rounds} in a process, fewer than {FEWEST_ROUNDS}: give it more --max-time")
    if len(columns) < FEWEST_PROCESSES:
        texts.append(spread_not_known(len(columns)))
    return texts


def _device(timings: Sequence[TargetTiming], eager_ms: float, settings: LatencySettings) -> DeviceLatency | None:
    columns = [timing.device for timing in timings if timing.device is not None]
    if not columns:
        return None
    middle = _median(columns)
    median_ms = math.exp(middle.centre)
    return DeviceLatency(median_ms, *bounds(middle, len(columns)), eager_ms / median_ms > _LAUNCH_BOUND, settings.cache)


def _shares(
    timings: Sequence[TargetTiming], columns: Sequence[Column], settings: LatencySettings
) -> Mapping[str, float]:
    """What disturbed a target, as shares: means over processes, and the spread between them.

    Page faults are no disturbance where the heap is left to the allocator's defaults: they are what was asked for.
    """
    seen = [timing.disturbance for timing in timings if timing.disturbance is not None]
    logs = [math.log(column.median_ms.centre) for column in columns]
    return {
        "interrupted": mean([one.interrupted or 0.0 for one in seen] or [0.0]),
        "faults": mean([one.faults for one in seen] or [0.0]) if settings.allocator == "kept" else 0.0,
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


def _log(interval: Interval) -> Interval:
    return Interval(math.log(interval.centre), math.log(interval.low), math.log(interval.high))


def _geometric_mean(values: Iterable[float]) -> float:
    return math.exp(mean(math.log(value) for value in values))
