"""The registered forms of blocks whose classes take more than a width: each a function of ``dim`` and named options.

``out_channels`` and ``stride``, where a block has them, default to ``dim`` and 1, so that the shape is kept.
"""

from __future__ import annotations

import math

from torch import nn

from convblocks import checks
from convblocks.baselines import Bottleneck, ConvBNReLU, DepthwiseSeparable
from convblocks.drconv import DRConv, DRConvExperts
from convblocks.pyconv import GROUPS, KERNEL_SIZES, PyConvBNReLU, level_widths, pyramid
from convblocks.pyconv_blocks import PyConvBottleneck
from convblocks.refconv import RefConv, RefConvBlock, fuse


def drconv(
    dim: int, out_channels: int | None = None, kernel_size: int = 3, regions: int = 8, stride: int = 1
) -> DRConv:
    """DRConv of an odd kernel, padded to keep the size but for the stride."""
    checks.odd("DRConv", "kernel_size", kernel_size)
    return DRConv(dim, _or_same(out_channels, dim), kernel_size, regions, stride, kernel_size // 2)


def drconv_experts(
    dim: int,
    out_channels: int | None = None,
    kernel_size: int = 3,
    regions: int = 8,
    experts: int = 8,
    stride: int = 1,
    bias: bool = False,
) -> DRConvExperts:
    """DRConvExperts of an odd kernel, padded to keep the size but for the stride."""
    checks.odd("DRConvExperts", "kernel_size", kernel_size)
    out = _or_same(out_channels, dim)
    return DRConvExperts(dim, out, kernel_size, regions, experts, stride, kernel_size // 2, bias)


def refconv(
    dim: int,
    out_channels: int | None = None,
    kernel_size: int = 3,
    stride: int = 1,
    groups: int = 1,
    map_k: int = 3,
    zero_init: bool = False,
    fused: bool = False,
) -> nn.Module:
    """RefConv over a Kaiming basis; ``fused`` gives the plain conv that it amounts to, as it is deployed."""
    checks.odd("RefConv", "kernel_size", kernel_size)
    out = _or_same(out_channels, dim)
    conv = RefConv(dim, out, kernel_size, stride, groups=groups, map_k=map_k, zero_init=zero_init)
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
    out_channels: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Module:
    """A pyramid of 1 to 4 ``kernels``, default 3, 5, 7, 9, sharing the output as PyConv2, 3 and 4 do.

    ``groups``, one for each kernel, defaults to the paper's 1, 4, 8, 16, each lowered to what divides the channels.
    """
    out = _or_same(out_channels, dim)
    sizes = _kernels(kernels)
    widths = level_widths("PyConv", out, len(sizes))
    return pyramid(dim, out, sizes, _groups(groups, dim, widths), stride, dilation)


def pyconv_bn_relu(
    dim: int,
    out_channels: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: int = 1,
) -> PyConvBNReLU:
    """A pyramid as in ``pyconv`` with conv, batch norm and ReLU on every level."""
    sizes = _kernels(kernels)
    widths = level_widths("PyConvBNReLU", _or_same(out_channels, dim), len(sizes))
    return PyConvBNReLU(dim, widths, sizes, _groups(groups, dim, widths), stride)


def pyconv_bottleneck(
    dim: int,
    planes: int | None = None,
    kernels: list[int] | None = None,
    groups: list[int] | None = None,
    stride: int = 1,
    expansion: int = 4,
) -> PyConvBottleneck:
    """PyConv bottleneck of dim → planes → planes·expansion; ``planes`` defaults to dim/expansion: the width stays.

    ``kernels`` and ``groups`` as in ``pyconv``.
    """
    inner = _planes("PyConvBottleneck", dim, planes, expansion)
    sizes = _kernels(kernels)
    widths = level_widths("PyConvBottleneck", inner, len(sizes))
    return PyConvBottleneck(dim, inner, stride, sizes, _groups(groups, inner, widths), expansion)


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
