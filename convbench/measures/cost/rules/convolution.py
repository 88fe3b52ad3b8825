"""Convolutions of any rank: strided, padded, dilated, grouped, transposed; forward and backward.

Every output element of a convolution meets one filter of in_channels / groups · prod(kernel) weights; in a transposed
convolution every *input* element meets one filter of out_channels / groups · prod(kernel). The gradient of the input
and that of the weight each take as many multiply–accumulates as the forward pass: all three sum over the same triples
of an input, a weight and an output element. Padding is what the convolution adds itself, and what the input brings as
zeros that padding put there; in a transposed convolution, whose own padding crops, what is cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import rule


def taps_inside(
    positions: int, extent: int, kernel: int, stride: int, padding: int, dilation: int, zeros: int = 0,
    of_positions: bool = False,
) -> int:  # fmt: skip
    """Pairs of a filter position and a kernel tap that meet a true element rather than padding, in one dimension.

    zeros: bits of the elements, or with ``of_positions`` of the positions, that are zeros from elsewhere.
    """
    if zeros:
        met = (
            (position, position * stride + tap * dilation - padding)
            for position in range(positions)
            for tap in range(kernel)
        )
        return sum(
            0 <= index < extent and not zeros >> (position if of_positions else index) & 1 for position, index in met
        )
    inside = 0
    for tap in range(kernel):
        shift = tap * dilation - padding
        first = max(0, -(shift // stride))  # smallest position with position·stride + shift ≥ 0
        last = min(positions - 1, (extent - 1 - shift) // stride)
        inside += max(0, last - first + 1)
    return inside


def spread(value: int | Sequence[int], dimensions: int) -> list[int]:
    """A hyper-parameter for every spatial dimension: ATen passes one number where all are equal."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dimensions if len(values) == 1 else values


def _products(
    x: Shape,
    weight: Shape,
    out: Shape,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    transposed: bool,
) -> tuple[int, int]:
    """Multiply–accumulates of the forward pass, and how many of them meet padding."""
    positions, extent = (x, out) if transposed else (out, x)
    macs = positions.numel() * prod(weight[1:])
    rank = len(weight) - 2
    zeros = x.zeros or (0,) * len(x)
    inside = prod(
        taps_inside(*dimension, of_positions=transposed)  # type: ignore[misc]
        for dimension in zip(
            positions[2:], extent[2:], weight[2:],
            spread(stride, rank), spread(padding, rank), spread(dilation, rank), zeros[2:], strict=True,
        )
    )  # fmt: skip
    every = prod(positions[2:]) * prod(weight[2:])
    if zeros[0] or zeros[1]:  # whole samples, whole channels
        every *= x[0] * x[1]
        inside *= (x[0] - zeros[0].bit_count()) * (x[1] - zeros[1].bit_count())
    return macs, macs - macs // every * inside if every else 0


@rule("aten::convolution", "aten::_convolution", "aten::convolution_overrideable")
def convolution(
    x: Shape, weight: Shape, bias: Shape | None, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    transposed: bool, *_: object, out: Shape,
) -> Amount:  # fmt: skip
    """out.numel() · in/groups · prod(kernel); transposed: x.numel() · out/groups · prod(kernel)."""
    macs, on_padding = _products(x, weight, out, stride, padding, dilation, transposed)
    return Amount(macs=macs, padding_macs=on_padding, other_flops=out.numel() if bias is not None else 0)


@rule("aten::convolution_backward", "aten::convolution_backward_overrideable")
def convolution_backward(
    grad: Shape, x: Shape, weight: Shape, _bias_sizes: object, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, _output_padding: object, _groups: int, output_mask: Sequence[bool],
    *, out: object,
) -> Amount:  # fmt: skip
    """The forward's count for each of the two gradients asked for; the bias gradient is a sum over positions."""
    macs, on_padding = _products(x, weight, grad, stride, padding, dilation, transposed)
    asked = int(output_mask[0]) + int(output_mask[1])
    bias_sums = grad.numel() if output_mask[2] else 0
    return Amount(macs=asked * macs, padding_macs=asked * on_padding, other_flops=bias_sums)


@rule("aten::mkldnn_convolution")
def mkldnn_convolution(
    x: Shape, weight: Shape, bias: Shape | None, padding: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
    *_: object, out: Shape,
) -> Amount:  # fmt: skip
    """As `convolution`; oneDNN's own operator orders its arguments otherwise."""
    return convolution(x, weight, bias, stride, padding, dilation, False, out=out)


@rule("aten::cudnn_convolution", "aten::miopen_convolution")
def cudnn_convolution(x: Shape, weight: Shape, *rest: object, out: Shape) -> Amount:
    """As `convolution`, without a bias; the last of padding, stride, dilation may follow a bias argument (MIOpen)."""
    padding, stride, dilation = [item for item in rest if isinstance(item, (list, tuple))][-3:]
    return convolution(x, weight, None, stride, padding, dilation, False, out=out)


@rule("aten::_slow_conv2d_forward", "aten::_conv_depthwise2d", "aten::conv_depthwise3d", "aten::slow_conv3d_forward")
def direct_convolution(
    x: Shape, weight: Shape, _kernel: object, bias: Shape | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int] = (1,), *_: object, out: Shape,
) -> Amount:  # fmt: skip
    """As `convolution`, for the kernels that take the kernel size apart."""
    return convolution(x, weight, bias, stride, padding, dilation, False, out=out)
