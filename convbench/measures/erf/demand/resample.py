"""Operators that mix pixels linearly along each axis apart: average pooling, interpolation, reflecting padding.

Each is a matrix along height and one along width. The matrix is read off the operator itself, applied to unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

import torch
from torch import Tensor

from convbench.measures.erf.demand.graph import Boxes, Call, Lengths, Operand, Value
from convbench.measures.erf.demand.layout import NotLocal, Region, Span, axis_dim, shape_of
from convbench.measures.erf.demand.rules import rule
from convbench.measures.erf.demand.sliding import entry, image_axes

aten = torch.ops.aten
Reach = Callable[[Span], Span]


@dataclass(frozen=True, slots=True)
class Resampling:
    """One axis. matrix: (output pixels, input pixels). beyond: the reach where the image goes on for ever."""

    matrix: Tensor
    beyond: Reach

    def reach(self, span: Span, within: bool) -> Span:
        start, end = span
        rows, size = self.matrix.shape
        if not (start >= 0 and end <= rows):
            return self.beyond(span)
        columns = self.matrix[start:end].any(dim=0).nonzero()
        if not len(columns):
            return (0, 1) if within else self.beyond(span)
        low, high = int(columns[0]), int(columns[-1]) + 1
        # At the border of the image the matrix shows only the inner part of what an unbounded one would reach.
        return (low, high) if within or (low > 0 and high < size) else self.beyond(span)


@dataclass(frozen=True, slots=True)
class ResampleStep:
    """axes: axis of the image → its matrix, for height and width in the order of the last two dimensions."""

    source: Operand
    axes: Mapping[int, Resampling]

    @property
    def operands(self) -> Sequence[Operand]:
        return [self.source]

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        return self.axes[axis].reach(span, within)

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        spans = {axis: resampling.reach(region[axis], True) for axis, resampling in self.axes.items()}
        x = boxes.take(self.source, (spans[0], spans[1]))
        along_rows, along_columns = (
            resampling.matrix[slice(*region[axis]), slice(*spans[axis])].to(x) for axis, resampling in self.axes.items()
        )
        return [along_rows @ x @ along_columns.T]


def resample(
    call: Call, apply: Callable[[Tensor, int], Tensor], beyond: Callable[[int], Reach]
) -> tuple[ResampleStep, list[Value]]:
    """apply: the operator along height (0) or width (1) alone. beyond: the reach along each."""
    source = call.operands[0]
    axes = image_axes(call, source.layout, 2)
    height, width = shape_of(source.layout)[2:]
    steps: dict[int, Resampling] = {}
    dims = []
    for place, (axis, size) in enumerate(zip(axes, (height, width), strict=True)):
        if axis is None:
            raise NotLocal(f"{call.name} spreads one position over a map")
        unit = torch.eye(size, dtype=source.dtype)  # so that weights are rounded as the operator rounds them
        rows = apply(unit[:, None, :, None] if place == 0 else unit[:, None, None, :], place)
        steps[axis] = Resampling(rows.reshape(size, -1).T.contiguous(), beyond(place))
        dims.append(axis_dim(axis, rows.shape[2 + place]))
    if () in dims:
        raise NotLocal(f"{call.name} joins whole rows or columns", [(*source.layout[:2], *dims)], unbounded=True)
    return ResampleStep(source, steps), [Value((*source.layout[:2], *dims), source.dtype)]


@rule(aten.avg_pool2d.default)
def average_pool(call: Call) -> tuple[ResampleStep, list[Value]]:
    named = call.named
    kernel, padding = named["kernel_size"], named["padding"]
    stride = named["stride"] or kernel
    if named["divisor_override"] is not None:
        raise NotLocal("average pooling with a divisor of its own")

    def apply(x: Tensor, place: int) -> Tensor:
        sizes = [_only(values, place, neutral) for values, neutral in ((kernel, 1), (stride, 1), (padding, 0))]
        result: Tensor = aten.avg_pool2d.default(x, *sizes, named["ceil_mode"], named["count_include_pad"], None)
        return result

    def beyond(place: int) -> Reach:
        k, s, p = (entry(values, place) for values in (kernel, stride, padding))
        return lambda span: (span[0] * s - p, (span[1] - 1) * s - p + k)

    return resample(call, apply, beyond)


@rule(aten._adaptive_avg_pool2d.default)
def adaptive_average_pool(call: Call) -> tuple[ResampleStep, list[Value]]:
    output = call.named["output_size"]
    shape = shape_of(call.operands[0].layout)[2:]

    def apply(x: Tensor, place: int) -> Tensor:
        result: Tensor = aten._adaptive_avg_pool2d.default(x, _only(output, place, 1))
        return result

    def beyond(place: int) -> Reach:
        scale = shape[place] / output[place]
        return lambda span: (floor(span[0] * scale), ceil(span[1] * scale))

    return resample(call, apply, beyond)


@rule(
    aten.upsample_nearest2d.default,
    aten._upsample_nearest_exact2d.default,
    aten.upsample_bilinear2d.default,
    aten.upsample_bicubic2d.default,
)
def interpolate(call: Call) -> tuple[ResampleStep, list[Value]]:
    named = call.named
    output = named["output_size"]
    shape = shape_of(call.operands[0].layout)[2:]
    corners = bool(named.get("align_corners", False))
    taps = {"upsample_bilinear2d": 1, "upsample_bicubic2d": 2}.get(call.name, 0)

    def apply(x: Tensor, place: int) -> Tensor:
        scales = [named["scales_h"] if place == 0 else None, named["scales_w"] if place == 1 else None]
        flags = [corners] if "align_corners" in named else []
        result: Tensor = call.operator(x, _only(output, place, 1), *flags, *scales)
        return result

    def beyond(place: int) -> Reach:
        size, count = shape[place], output[place]
        scale = (size - 1) / max(count - 1, 1) if corners else size / count
        shift = 0.0 if corners or not taps else 0.5

        def position(pixel: int) -> int:
            exact: float = (pixel + shift) * scale - shift
            return floor(exact)

        # Left of a position there are taps − 1 more pixels than its own, right of it as many as taps.
        return lambda span: (position(span[0]) - max(taps - 1, 0), position(span[1] - 1) + taps + 1)

    return resample(call, apply, beyond)


@rule(aten.reflection_pad2d.default, aten.replication_pad2d.default)
def mirror_pad(call: Call) -> tuple[ResampleStep, list[Value]]:
    left, right, top, bottom = call.named["padding"]

    def apply(x: Tensor, place: int) -> Tensor:
        result: Tensor = call.operator(x, [0, 0, top, bottom] if place == 0 else [left, right, 0, 0])
        return result

    def beyond(place: int) -> Reach:
        low = (top, left)[place]
        return lambda span: (span[0] - low, span[1] - low)

    return resample(call, apply, beyond)


def _only(values: int | Sequence[int], place: int, neutral: int) -> list[int]:
    """A pair of arguments with the neutral one along the other axis."""
    pair = [neutral, neutral]
    pair[place] = entry(values, place)
    return pair
