"""Results of processes, made up to measure."""

from __future__ import annotations

from convbench.measures.latency.timing.noise import Disturbance
from convbench.measures.latency.timing.result import Column, TargetTiming
from convbench.statistics import Interval

QUIET = Disturbance(interrupted=0.0, faults=0.0, faults_per_call=0.0, steal=0.0, switches_per_sample=0.0)


def interval(centre: float, half_width: float = 0.0) -> Interval:
    return Interval(centre, centre - half_width, centre + half_width)


def column(median_ms: float, log_ratio: float | Interval | None = None, half_width: float = 0.0) -> Column:
    ratio = interval(log_ratio) if isinstance(log_ratio, float) else log_ratio
    return Column(interval(median_ms, half_width), 0.9 * median_ms, 1.2 * median_ms, 100, 0.02, ratio)


def timing(
    median_ms: float,
    log_ratio: float | Interval | None = None,
    *,
    half_width: float = 0.0,
    disturbance: Disturbance = QUIET,
    device: Column | None = None,
    first_ms: float = 7.0,
    compile_ms: float | None = None,
    kernels: tuple[str, ...] = (),
) -> TargetTiming:
    return TargetTiming(
        eager=column(median_ms, log_ratio, half_width),
        device=device,
        disturbance=disturbance,
        first_ms=first_ms,
        compile_ms=compile_ms,
        batch=4,
        kernels=kernels,
    )
