"""Pooling and resizing, forward and backward.

Pooling compares or sums every element of a window that lies inside the input; an average divides once more.
Resizing interpolates one axis after another: two products and a sum (linear), four and three (cubic).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from convbench.measures.cost.amount import Amount, Shape, first_shape
from convbench.measures.cost.rules.convolution import spread, taps_inside
from convbench.measures.cost.table import Kind, rule

Sizes = int | Sequence[int]


def _window_elements(
    x: Shape, out: Shape, kernel: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, rank: int
) -> int:
    """Elements that all windows meet, padding left out; an empty stride is the kernel size."""
    sizes = spread(kernel, rank)
    steps = spread(stride, rank) if stride else sizes
    dimensions = zip(out[-rank:], x[-rank:], sizes, steps, spread(padding, rank), spread(dilation, rank), strict=True)
    return prod(out[:-rank]) * prod(taps_inside(*dimension) for dimension in dimensions)


def _max_pool(rank: int) -> Callable[..., Amount]:
    def max_pool(
        x: Shape, kernel: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1, *_: object,
        out: object,
    ) -> Amount:  # fmt: skip
        return Amount(other_flops=_window_elements(x, first_shape(out), kernel, stride, padding, dilation, rank))

    return max_pool


def _average_pool(rank: int) -> Callable[..., Amount]:
    def average_pool(
        x: Shape, kernel: Sizes, stride: Sizes | None = None, padding: Sizes = 0, *_: object, out: Shape, **__: object
    ) -> Amount:
        return Amount(other_flops=_window_elements(x, out, kernel, stride, padding, 1, rank) + out.numel())

    return average_pool


def _average_pool_backward(rank: int) -> Callable[..., Amount]:
    def average_pool_backward(
        grad: Shape, x: Shape, kernel: Sizes, stride: Sizes | None, padding: Sizes, *_: object, out: object
    ) -> Amount:
        """A quotient for each gradient, added to every element of its window."""
        return Amount(other_flops=_window_elements(x, grad, kernel, stride, padding, 1, rank) + grad.numel())

    return average_pool_backward


for _rank in (2, 3):
    rule(f"aten::max_pool{_rank}d_with_indices", kind=Kind.ELEMENTWISE)(_max_pool(_rank))
    rule(f"aten::avg_pool{_rank}d", kind=Kind.ELEMENTWISE)(_average_pool(_rank))
    rule(f"aten::avg_pool{_rank}d_backward", kind=Kind.ELEMENTWISE)(_average_pool_backward(_rank))
rule("aten::mkldnn_max_pool2d", "aten::quantized_max_pool2d", kind=Kind.ELEMENTWISE)(_max_pool(2))
rule("aten::mkldnn_max_pool3d", kind=Kind.ELEMENTWISE)(_max_pool(3))
rule("aten::avg_pool1d", kind=Kind.ELEMENTWISE)(_average_pool(1))


@rule(
    "aten::max_pool2d_with_indices_backward", "aten::max_pool2d_backward", "aten::max_pool3d_with_indices_backward",
    "aten::adaptive_max_pool2d_backward", "aten::adaptive_max_pool3d_backward",
    "aten::fractional_max_pool2d_backward", "aten::fractional_max_pool3d_backward", kind=Kind.ELEMENTWISE,
)  # fmt: skip
def max_pool_backward(grad: Shape, *_: object, out: object) -> Amount:
    """Each gradient is added to the element that won."""
    return Amount(other_flops=grad.numel())


def adaptive_window_elements(x: Shape, pooled: Shape, rank: int) -> int:
    """Window i of m over n elements covers floor(i·n/m) … ceil((i+1)·n/m): windows overlap where m ∤ n."""
    each_axis = (
        sum(-(-(index + 1) * size // windows) - index * size // windows for index in range(windows))
        for size, windows in zip(x[-rank:], pooled[-rank:], strict=True)
    )
    return prod(pooled[:-rank]) * prod(each_axis)


def _adaptive(rank: int) -> None:
    @rule(f"aten::_adaptive_avg_pool{rank}d", f"aten::adaptive_avg_pool{rank}d", kind=Kind.ELEMENTWISE)
    def average(x: Shape, *_: object, out: Shape) -> Amount:
        return Amount(other_flops=adaptive_window_elements(x, out, rank) + out.numel())

    @rule(f"aten::_adaptive_avg_pool{rank}d_backward", kind=Kind.ELEMENTWISE)
    def average_backward(grad: Shape, x: Shape, *, out: object) -> Amount:
        return Amount(other_flops=adaptive_window_elements(x, grad, rank) + grad.numel())

    @rule(f"aten::adaptive_max_pool{rank}d", kind=Kind.ELEMENTWISE)
    def maximum(x: Shape, *_: object, out: object) -> Amount:
        return Amount(other_flops=adaptive_window_elements(x, first_shape(out), rank))


for _rank in (2, 3):
    _adaptive(_rank)


@rule("aten::fractional_max_pool2d", "aten::fractional_max_pool3d", kind=Kind.ELEMENTWISE)
def fractional_max_pool(_x: Shape, kernel: Sizes, output_size: Sequence[int], *_: object, out: object) -> Amount:
    """Every window whole: positions are drawn inside the input."""
    return Amount(other_flops=first_shape(out).numel() * prod(spread(kernel, len(output_size))))


# Operations for each element of the larger map; the backward form distributes a gradient along the same weights.
_RESIZE = {"linear1d": 3, "bilinear2d": 6 + 3, "trilinear3d": 12 + 6 + 3, "bicubic2d": 4 * 7 + 7}
_RESIZE_BACKWARD = {"linear1d": 2 + 2, "bilinear2d": 2 + 4 + 4, "trilinear3d": 2 + 4 + 8 + 8, "bicubic2d": 4 + 16 + 16}


def _resize(name: str, operations: int, backward: int) -> None:
    @rule(f"aten::upsample_{name}", kind=Kind.ELEMENTWISE)
    def interpolate(_x: Shape, *_: object, out: Shape, **__: object) -> Amount:
        return Amount(other_flops=operations * out.numel())

    @rule(f"aten::upsample_{name}_backward", kind=Kind.ELEMENTWISE)
    def interpolate_backward(grad: Shape, *_: object, out: object, **__: object) -> Amount:
        return Amount(other_flops=backward * grad.numel())


for _name, _operations in _RESIZE.items():
    _resize(_name, _operations, _RESIZE_BACKWARD[_name])


@rule(
    *(f"aten::upsample_nearest{rank}d_backward" for rank in (1, 2, 3)),
    *(f"aten::_upsample_nearest_exact{rank}d_backward" for rank in (1, 2, 3)),
    *(f"aten::{kind}_pad{rank}d_backward" for kind in ("reflection", "replication") for rank in (1, 2, 3)),
    kind=Kind.ELEMENTWISE,
)  # fmt: skip
def summed_copies_backward(grad: Shape, *_: object, out: object, **__: object) -> Amount:
    """Copied elements gather their copies' gradients: one sum for each copy."""
    return Amount(other_flops=grad.numel())


def _antialiased_taps(size: int, target: int, corners: bool, scale: float | None, reach: float) -> int:
    """Neighbours that all ``target`` results meet along one axis: a window of ±reach source steps, cut at the borders.

    Source: ATen's antialiased resize, which follows Pillow: the window widens with the step when shrinking.
    """
    step = 1 / scale if scale else size / target
    if corners:
        step = (size - 1) / (target - 1) if target > 1 else 0.0
    support = reach * max(step, 1.0)
    taps = 0
    for index in range(target):
        center = step * (index + 0.5)
        taps += min(int(center + support + 0.5), size) - max(int(center - support + 0.5), 0)
    return taps


def _antialiased(name: str, reach: float) -> None:
    def both_passes(x: Shape, size: Sequence[int], corners: bool, scales: Sequence[float | None]) -> int:
        height, width = (
            _antialiased_taps(extent, target, corners, scale, reach)
            for extent, target, scale in zip(x[-2:], size, scales, strict=True)
        )
        planes = x[0] * x[1]
        return 2 * planes * (x[-2] * width + size[1] * height)

    @rule(f"aten::_upsample_{name}2d_aa", kind=Kind.ELEMENTWISE)
    def interpolate(
        x: Shape, size: Sequence[int], corners: bool, scale_h: float | None = None, scale_w: float | None = None,
        *, out: object,
    ) -> Amount:  # fmt: skip
        """Rows are resized first, then columns: a product and a sum for each neighbour."""
        return Amount(other_flops=both_passes(x, size, corners, (scale_h, scale_w)))

    @rule(f"aten::_upsample_{name}2d_aa_backward", kind=Kind.ELEMENTWISE)
    def interpolate_backward(
        _grad: Shape, size: Sequence[int], input_size: Sequence[int], corners: bool, scale_h: float | None = None,
        scale_w: float | None = None, *, out: Shape,
    ) -> Amount:  # fmt: skip
        """The transposed passes."""
        return Amount(other_flops=both_passes(out, size, corners, (scale_h, scale_w)))


_antialiased("bilinear", 1.0)
_antialiased("bicubic", 2.0)
