"""How small a difference this machine can show: a block compared with itself, by the protocol of every comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.measures.latency import LatencyComparison, compare_latency
from convbench.notation import format_shapes

Compare = Callable[..., LatencyComparison]

SIZES = (8, 56)  # a block whose tensors stay in the inner caches, and one of usual size


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What a comparison of a block with itself gave.

    input_shape: as in records. ratio, low, high: of the two instances, 1 in truth, with the 95% interval. margin: that
    the protocol chose. noise: ``quiet``, ``noisy`` or ``invalid``.
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


class DepthwisePointwise(nn.Module):
    """Depthwise 7×7, then 1×1 conv: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.pointwise = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


def measure_noise(
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[Any], None] | None = None,
    sizes: Sequence[int] = SIZES,
    compare: Compare = compare_latency,
) -> tuple[NoiseFloor, ...]:
    """The noise floor at each of ``sizes``. Raises MeasurementError where the block could not be timed."""
    return tuple(_floor(Case(_BLOCK, size=size, device=device, threads=threads), progress, compare) for size in sizes)


_BLOCK = f"{DepthwisePointwise.__module__}:{DepthwisePointwise.__qualname__}"


def _floor(case: Case, progress: Callable[[Any], None] | None, compare: Compare) -> NoiseFloor:
    comparison = compare([case, case], 0, progress=progress)
    ratio = comparison.ratios[1]
    if ratio is None:
        reasons = [latency.error for latency in comparison.latencies if latency.error]
        raise MeasurementError(f"the noise floor could not be measured: {'; '.join(reasons) or 'no process was timed'}")
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
