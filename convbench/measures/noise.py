"""How small a difference this machine can show: a block compared with itself, as everything is compared. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.measures.latency import LatencyComparison, LatencySettings, compare_latency
from convbench.notation import format_shapes

Compare = Callable[..., LatencyComparison]

_BLOCK = "convbench.measures.noise_block:DepthwisePointwise"
SIZES = (8, 56)  # a block whose tensors stay in the inner caches, and one of usual size


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What a comparison of a block with itself gave.

    input_shape: as in records. ratio, low, high: of the two instances, 1 in truth, with the 95% interval. margin: that
    verdicts are held against. noise: ``quiet``, ``noisy`` or ``invalid``.
    smallest_difference: least true difference, as a share, that half of all comparisons can tell from none: the margin
    and half the interval.
    """

    input_shape: str
    ratio: float
    low: float
    high: float
    margin: float
    noise: str | None
    smallest_difference: float


def measure_noise(
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[Any], None] | None = None,
    sizes: Sequence[int] = SIZES,
    compare: Compare = compare_latency,
    timeout_s: float | None = None,
) -> tuple[NoiseFloor, ...]:
    """The noise floor at each of ``sizes``. Raises MeasurementError where the block could not be timed.

    timeout_s: seconds without a sign of life after which a measuring process is stopped.
    """
    if timeout_s is not None:
        compare = partial(compare, settings=LatencySettings(timeout_s=timeout_s))
    return tuple(_floor(Case(_BLOCK, size=size, device=device, threads=threads), progress, compare) for size in sizes)


def _floor(case: Case, progress: Callable[[Any], None] | None, compare: Compare) -> NoiseFloor:
    comparison = compare([case, case], 0, progress=progress)
    ratio = comparison.ratios[1]
    if ratio is None:
        reasons = [latency.error for latency in comparison.latencies if latency.error]
        raise MeasurementError(f"the noise floor could not be measured: {'; '.join(reasons) or 'no process was timed'}")
    if ratio.low is None or ratio.high is None:
        raise MeasurementError(f"the noise floor could not be measured: {ratio.withheld}")
    half_width = max(math.log(ratio.high / ratio.ratio), math.log(ratio.ratio / ratio.low))
    return NoiseFloor(
        input_shape=format_shapes(((1, 64, case.size or 0, case.size or 0),)),
        ratio=ratio.ratio,
        low=ratio.low,
        high=ratio.high,
        margin=ratio.margin,
        noise=comparison.latencies[1].noise,
        smallest_difference=(1 + ratio.margin) * math.exp(half_width) - 1,
    )
