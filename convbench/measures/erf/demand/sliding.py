"""Rules of operators that slide a window: convolutions, max pooling, constant padding, strided slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from convbench.measures.erf.demand.graph import Call, Operand, Value
from convbench.measures.erf.demand.layout import (
    SPATIAL,
    Dim,
    Layout,
    NotLocal,
    axis_dim,
    is_plain,
    pad_list,
    plain_dim,
    shape_of,
)
from convbench.measures.erf.demand.rules import rule
from convbench.measures.erf.demand.window import TransposedStep, Window, WindowStep

aten = torch.ops.aten


@rule(aten.convolution.default)
def convolution(call: Call) -> tuple[WindowStep | TransposedStep, list[Value]]:
    source, weight, *rest = call.operands
    if any(operand.value is not None for operand in (weight, *rest)):
        raise NotLocal("the kernel of a convolution depends on the input", unbounded=True)
    named = call.named
    kernel, bias = weight.constant, rest[0].constant if rest else None
    assert kernel is not None
    sizes = kernel.shape[2:]
    axes = image_axes(call, source.layout, len(sizes))
    shape = shape_of(source.layout)
    windows = {
        place + 2: (
            axes[place],
            Window(
                shape[place + 2],
                sizes[place],
                entry(named["stride"], place),
                entry(named["padding"], place),
                entry(named["dilation"], place),
            ),
        )
        for place in range(len(sizes))
    }
    stride, dilation = [window.stride for _, window in windows.values()], list(named["dilation"])
    zeros = [0] * len(sizes)
    if named["transposed"]:
        return _transposed(call, source, kernel, bias, windows)

    def apply(x: Tensor, padding: Sequence[int]) -> list[Tensor]:
        return [aten.convolution.default(x, kernel, bias, stride, padding, dilation, False, zeros, named["groups"])]

    lengths = [_windowed(window) for _, window in windows.values()]
    output = _output(source, kernel.shape[0], axes, lengths)
    if (
        len(sizes) == 2
        and named["groups"] == 1
        and all(window == Window(window.size) for _, window in windows.values())
    ):
        # A 1×1 kernel on a small box is a matrix product with several times less overhead.
        matrix = kernel.flatten(1)
        return WindowStep(source, windows, lambda x, _: [_per_pixel(x, matrix, bias)]), [output]
    return WindowStep(source, windows, apply, pads=True), [output]


def _per_pixel(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, h, w) to (N, out, h, w) by the same matrix (out, C) at every pixel."""
    return F.linear(x.permute(0, 2, 3, 1), matrix, bias).permute(0, 3, 1, 2)


def _transposed(
    call: Call, source: Operand, kernel: Tensor, bias: Tensor | None, windows: Mapping[int, tuple[int | None, Window]]
) -> tuple[TransposedStep, list[Value]]:
    known = {dim: (axis, window) for dim, (axis, window) in windows.items() if axis is not None}
    if len(known) < len(windows):
        raise NotLocal("a transposed convolution makes a map from one position")
    named = call.named
    zeros = [0] * len(windows)

    def apply(x: Tensor) -> Tensor:
        result: Tensor = aten.convolution.default(
            x, kernel, None, named["stride"], zeros, named["dilation"], True, zeros, named["groups"]
        )
        return result

    lengths = [
        (window.size - 1) * window.stride - 2 * window.padding + window.extent + entry(named["output_padding"], place)
        for place, (_, window) in enumerate(windows.values())
    ]
    axes = [axis for axis, _ in known.values()]
    output = _output(source, kernel.shape[1] * named["groups"], axes, lengths)
    return TransposedStep(source, known, apply, bias), [output]


@rule(aten.max_pool2d_with_indices.default)
def max_pool(call: Call) -> tuple[WindowStep, list[Value]]:
    (source,) = call.operands
    axes = image_axes(call, source.layout, 2)
    shape = shape_of(source.layout)
    kernel = call.named["kernel_size"]
    stride = call.named["stride"] or kernel
    padding, dilation, ceil = call.named["padding"], call.named["dilation"], call.named["ceil_mode"]
    windows = {
        place + 2: (
            axes[place],
            Window(
                shape[place + 2], entry(kernel, place), entry(stride, place), entry(padding, place),
                entry(dilation, place),
            ),
        )
        for place in range(2)
    }  # fmt: skip
    if any(axis is None for axis in axes):
        raise NotLocal("max pooling of a map of one pixel's height or width")

    def apply(x: Tensor, _padding: Sequence[int]) -> list[Tensor]:
        return [F.max_pool2d(x, kernel, stride, 0, dilation)]

    lengths = [_windowed(window, ceil) for _, window in windows.values()]
    output = _output(source, shape[1], axes, lengths)
    return WindowStep(source, windows, apply, -inf), [output, Value(output.layout, torch.int64, readable=False)]


@rule(aten.constant_pad_nd.default)
def constant_pad(call: Call) -> tuple[WindowStep, list[Value]]:
    (source,) = call.operands
    pad, fill = call.named["pad"], float(call.named["value"])
    rank = len(source.layout)
    shape = shape_of(source.layout)
    layout = list(source.layout)
    windows: dict[int, tuple[int | None, Window]] = {}
    plain_ends: dict[int, tuple[int, int]] = {}
    for place in range(len(pad) // 2):
        dim = rank - 1 - place
        low, high = pad[2 * place], pad[2 * place + 1]
        axis = single_axis(layout[dim])
        if axis is None:
            if not is_plain(layout[dim]) or (not layout[dim] and low + high and dim >= 2):
                raise NotLocal("padding of a dimension that mixes positions, or of one pixel")
            plain_ends[dim] = (low, high)
            layout[dim] = plain_dim(shape[dim] + low + high)
        else:
            windows[dim] = (axis, Window(shape[dim], padding=low))
            layout[dim] = axis_dim(axis, shape[dim] + low + high)

    def apply(x: Tensor, _padding: Sequence[int]) -> list[Tensor]:
        return [F.pad(x, pad_list(plain_ends, rank), value=fill) if plain_ends else x]

    return WindowStep(source, windows, apply, fill), [Value(tuple(layout), source.dtype)]


@rule(aten.slice.Tensor)
def strided_slice(call: Call) -> tuple[WindowStep, list[Value]]:
    (source,) = call.operands
    dim = call.named["dim"] % len(source.layout)
    size = shape_of(source.layout)[dim]
    step = call.named["step"]
    start, end, _ = slice(call.named["start"], call.named["end"]).indices(size)
    length = max(-(-(end - start) // step), 0)
    layout = list(source.layout)
    axis = single_axis(layout[dim])
    if length == 0:
        raise NotLocal("an empty slice")
    if axis is None:
        if not is_plain(layout[dim]):
            raise NotLocal("a slice of a dimension that mixes positions or samples")
        layout[dim] = plain_dim(length)

        def cut(x: Tensor, _padding: Sequence[int]) -> list[Tensor]:
            return [aten.slice.Tensor(x, dim, start, end, step)]

        return WindowStep(source, {}, cut), [Value(tuple(layout), source.dtype)]
    layout[dim] = axis_dim(axis, length)

    def stride(x: Tensor, _padding: Sequence[int]) -> list[Tensor]:
        return [aten.slice.Tensor(x, dim, 0, None, step)]

    windows = {dim: (axis, Window(size, stride=step, padding=-start))}
    return WindowStep(source, windows, stride), [Value(tuple(layout), source.dtype)]


def image_axes(call: Call, layout: Layout, rank: int) -> list[int | None]:
    """The axis of every dimension that the window slides along."""
    if len(layout) != rank + 2 or not is_plain(layout[1]):
        raise NotLocal(f"{call.name} takes positions for channels")
    for dim in layout[2:]:
        if dim and single_axis(dim) is None:
            raise NotLocal(f"{call.name} slides over a dimension that is not an axis of the image")
    return [single_axis(dim) for dim in layout[2:]]


def single_axis(dim: Dim) -> int | None:
    """The axis of the image that a dimension is, if it is one."""
    return dim[0].axis if len(dim) == 1 and dim[0].axis in SPATIAL else None


def _output(source: Operand, channels: int, axes: Sequence[int | None], lengths: Sequence[int]) -> Value:
    spatial = []
    for axis, length in zip(axes, lengths, strict=True):
        if axis is None and length > 1:
            raise NotLocal("padding makes a map from one position")
        spatial.append(() if axis is None else axis_dim(axis, length))
    return Value((source.layout[0], plain_dim(channels), *spatial), source.dtype)


def _windowed(window: Window, ceil: bool = False) -> int:
    """Value pixels along an axis."""
    room = window.size + 2 * window.padding - window.extent
    if not ceil:
        return room // window.stride + 1
    count = -(-room // window.stride) + 1
    # A last window that would start beyond the image and its low padding is left out.
    return count - 1 if (count - 1) * window.stride >= window.size + window.padding else count


def entry(values: int | Sequence[int], place: int) -> int:
    if isinstance(values, int):
        return values
    return values[place] if len(values) > 1 else values[0]
