"""The registered forms of blocks whose classes take more than a width: each a function of ``dim`` and named options.

``out_channels`` and ``stride``, where a block has them, default to ``dim`` and 1, so that the shape is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from convblocks import checks
from convblocks.baselines import Bottleneck, ConvBNReLU, DepthwiseSeparable
from convblocks.checks import Pair
from convblocks.drconv import DRConv, DRConvExperts
from convblocks.pyconv import (
    GROUPS,
    KERNEL_SIZES,
    PyConv2,
    PyConv2d,
    PyConv3,
    PyConv4,
    PyConvBNReLU,
    level_widths,
    pyramid,
)
from convblocks.pyconv_blocks import PyConvBasicBlock1, PyConvBasicBlock2, PyConvBottleneck
from convblocks.refconv import RefConv, RefConvBlock, fuse


def drconv(
    dim: int,
    out_channels: int | None = None,
    kernel_size: int = 3,
    regions: int = 8,
    stride: Pair = 1,
    padding: Pair | None = None,
    dilation: Pair = 1,
    bias: bool = False,
) -> DRConv:
    """DRConv, padded to keep the size but for the stride, for which the kernel must be odd, or as ``padding`` says."""
    around = _padding("DRConv", kernel_size, dilation, padding)
    return DRConv(dim, _or_same(out_channels, dim), kernel_size, regions, stride, around, dilation, bias)


def drconv_experts(
    dim: int,
    out_channels: int | None = None,
    kernel_size: int = 3,
    regions: int = 8,
    experts: int = 8,
    stride: Pair = 1,
    bias: bool = False,
    padding: Pair | None = None,
    dilation: Pair = 1,
) -> DRConvExperts:
    """DRConvExperts, padded as ``drconv`` is."""
    around = _padding("DRConvExperts", kernel_size, dilation, padding)
    out = _or_same(out_channels, dim)
    return DRConvExperts(dim, out, kernel_size, regions, experts, stride, around, bias, dilation)


def refconv(
    dim: int,
    out_channels: int | None = None,
    kernel_size: int = 3,
    stride: Pair = 1,
    groups: int = 1,
    map_k: int = 3,
    zero_init: bool = False,
    fused: bool = False,
    padding: str | Pair | None = None,
    dilation: Pair = 1,
    bias: bool = False,
) -> nn.Module:
    """RefConv over a Kaiming basis, padded as ``drconv`` is; ``fused`` gives the plain conv that it amounts to."""
    around = padding if isinstance(padding, str) else _padding("RefConv", kernel_size, dilation, padding)
    out = _or_same(out_channels, dim)
    conv = RefConv(dim, out, kernel_size, stride, around, groups, map_k, dilation, bias, zero_init)
    return fuse(conv) if fused else conv


def refconv_block(
    dim: int,
    out_channels: int | None = None,
    stride: int = 1,
    groups: int = 1,
    map_k: int = 3,
    zero_init: bool = False,
    fused: bool = False,
) -> nn.Module:
    """RefConv 3×3, batch norm, hardswish; ``fused`` puts the plain conv in RefConv's place."""
    block = RefConvBlock(dim, _or_same(out_channels, dim), stride, groups, map_k, zero_init)
    return fuse(block) if fused else block


def pyconv(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> nn.Module:
    """A pyramid of 1 to 4 ``kernels``, default 3, 5, 7, 9, sharing the output as PyConv2, 3 and 4 do.

    ``out_channels`` may be a list with the width of each level, such as [16, 16, 8, 24].
    ``groups``, one for each kernel, defaults to the paper's 1, 4, 8, 16, each lowered to what divides the channels.
    """
    out = dim if out_channels is None else out_channels
    sizes = _kernels(kernels)
    widths = level_widths("PyConv", out, len(sizes))
    return pyramid(dim, widths, sizes, _groups(groups, dim, widths), stride, dilation, bias)


def pyconv2d(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> PyConv2d:
    """A pyramid as in ``pyconv``, with PyConv2d's keys; of any number of levels where ``out_channels`` lists them."""
    sizes = _kernels(kernels)
    out = dim if out_channels is None else out_channels
    widths = level_widths("PyConv2d", out, len(sizes)) if isinstance(out, int) else list(out)
    return PyConv2d(dim, widths, sizes, _groups(groups, dim, widths), stride, dilation, bias)


def pyconv2(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> PyConv2:
    """Two levels, default kernels 3 and 5; options as in ``pyconv``."""
    sizes, widths, counts = _shared("PyConv2", 2, dim, out_channels, kernels, groups)
    return PyConv2(dim, widths, sizes, counts, stride, dilation, bias)


def pyconv3(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> PyConv3:
    """Three levels, default kernels 3, 5 and 7; options as in ``pyconv``."""
    sizes, widths, counts = _shared("PyConv3", 3, dim, out_channels, kernels, groups)
    return PyConv3(dim, widths, sizes, counts, stride, dilation, bias)


def pyconv4(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> PyConv4:
    """Four levels, default kernels 3, 5, 7 and 9; options as in ``pyconv``."""
    sizes, widths, counts = _shared("PyConv4", 4, dim, out_channels, kernels, groups)
    return PyConv4(dim, widths, sizes, counts, stride, dilation, bias)


def pyconv_bn_relu(
    dim: int,
    out_channels: int | Sequence[int] | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = True,
) -> PyConvBNReLU:
    """A pyramid as in ``pyconv`` with conv, batch norm and ReLU on every level."""
    sizes = _kernels(kernels)
    widths = level_widths("PyConvBNReLU", dim if out_channels is None else out_channels, len(sizes))
    return PyConvBNReLU(dim, widths, sizes, _groups(groups, dim, widths), stride, dilation, bias)


def pyconv_bottleneck(
    dim: int,
    planes: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    expansion: int = 4,
    dilation: Pair = 1,
    norm_layer: str = "batch",
) -> PyConvBottleneck:
    """PyConv bottleneck of dim → planes → planes·expansion; ``planes`` defaults to dim/expansion: the width stays.

    ``kernels`` and ``groups`` as in ``pyconv``; ``norm_layer`` is batch, group, instance or layer.
    """
    inner = _planes("PyConvBottleneck", dim, planes, expansion)
    sizes = _kernels(kernels)
    widths = level_widths("PyConvBottleneck", inner, len(sizes))
    counts = _groups(groups, inner, widths)
    return PyConvBottleneck(dim, inner, stride, sizes, counts, expansion, dilation, norm_layer=norm_layer)


def pyconv_basic_block1(
    dim: int,
    planes: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    norm_layer: str = "batch",
) -> PyConvBasicBlock1:
    """Two PyConvs and a shortcut, of dim → planes; options as in ``pyconv_bottleneck``, ``planes`` defaults to dim."""
    width, sizes, counts = _basic("PyConvBasicBlock1", dim, planes, kernels, groups)
    return PyConvBasicBlock1(dim, width, stride, sizes, counts, dilation=dilation, norm_layer=norm_layer)


def pyconv_basic_block2(
    dim: int,
    planes: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: Pair = 1,
    dilation: Pair = 1,
    norm_layer: str = "batch",
) -> PyConvBasicBlock2:
    """A PyConv, a 1×1 conv and a shortcut, of dim → planes; options as in ``pyconv_basic_block1``."""
    width, sizes, counts = _basic("PyConvBasicBlock2", dim, planes, kernels, groups)
    return PyConvBasicBlock2(dim, width, stride, sizes, counts, dilation=dilation, norm_layer=norm_layer)


def conv3x3(dim: int, out_channels: int | None = None, stride: int = 1, groups: int = 1) -> ConvBNReLU:
    """Plain 3×3 conv, batch norm, ReLU."""
    return ConvBNReLU(dim, _or_same(out_channels, dim), 3, stride, groups)


def depthwise_separable(
    dim: int, out_channels: int | None = None, kernel_size: int = 3, stride: int = 1
) -> DepthwiseSeparable:
    """Depthwise conv and 1×1 conv, each with batch norm and ReLU."""
    return DepthwiseSeparable(dim, _or_same(out_channels, dim), kernel_size, stride)


def bottleneck(dim: int, planes: int | None = None, stride: int = 1) -> Bottleneck:
    """ResNet bottleneck of dim → planes → 4·planes; ``planes`` defaults to dim/4, which keeps the width."""
    return Bottleneck(dim, _planes("Bottleneck", dim, planes, Bottleneck.expansion), stride)


def _or_same(out_channels: int | None, dim: int) -> int:
    return dim if out_channels is None else out_channels


def _padding(owner: str, kernel_size: int, dilation: Pair, padding: Pair | None) -> Pair:
    """``padding``, or what keeps the size at stride 1: dilation·(k − 1)/2 along each axis."""
    if padding is not None:
        return padding
    checks.odd(owner, "kernel_size", kernel_size)
    rows, columns = checks.pair(owner, "dilation", dilation)
    return rows * (kernel_size // 2), columns * (kernel_size // 2)


def _shared(
    owner: str,
    levels: int,
    dim: int,
    out_channels: int | Sequence[int] | None,
    kernels: list[int] | None,
    groups: list[int] | None,
) -> tuple[list[int], list[int], list[int]]:
    """Kernels, widths and groups of a pyramid of so many levels."""
    sizes = list(KERNEL_SIZES[:levels]) if kernels is None else checks.int_list(owner, "kernels", kernels)
    widths = level_widths(owner, dim if out_channels is None else out_channels, levels)
    return sizes, widths, _groups(groups, dim, widths)


def _basic(
    owner: str, dim: int, planes: int | None, kernels: list[int] | None, groups: list[int] | None
) -> tuple[int, list[int], list[int]]:
    """Width, kernels and groups of a basic block: its first pyramid takes dim channels, its second ``planes``."""
    width = _or_same(planes, dim)
    sizes = _kernels(kernels)
    widths = level_widths(owner, width, len(sizes))
    return width, sizes, _groups(groups, math.gcd(checks.positive(owner, "dim", dim), width), widths)


def _planes(owner: str, dim: int, planes: int | None, expansion: int) -> int:
    if planes is not None:
        return planes
    checks.positive(owner, "expansion", expansion)
    return checks.multiple(owner, "dim", dim, expansion, "expands its inner width to dim") // expansion


def _kernels(kernels: list[int] | None) -> list[int]:
    return list(KERNEL_SIZES) if kernels is None else checks.int_list("PyConv", "kernels", kernels)


def _groups(groups: list[int] | None, in_channels: int, widths: list[int]) -> list[int]:
    if groups is not None:
        return groups
    return [math.gcd(count, in_channels, width) for count, width in zip(GROUPS, widths, strict=False)]
