"""Pyramidal convolution (arXiv:2006.11538)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.checks import Pair
from convblocks.execution import on_cpu

KERNEL_SIZES = (3, 5, 7, 9)
GROUPS = (1, 4, 8, 16)
# The CPU's channels-first kernels need this many output channels a group to fill a vector; with fewer they fall back to
# code that is 2 to 3 times slower than the channels-last kernels.
_FULL_VECTOR = 8
# Which part of the output each level of a pyramid gives, in quarters.
_QUARTERS = {1: (4,), 2: (2, 2), 3: (1, 1, 2), 4: (1, 1, 1, 1)}


def _level(
    owner: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    groups: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    bias: bool,
) -> nn.Conv2d:
    """One level: a grouped conv whose output size does not depend on its kernel."""
    checks.odd(owner, "each of kernel_sizes", kernel_size)
    checks.groups(f"{owner}, level k={kernel_size}", in_channels, out_channels, groups)
    padding = (dilation[0] * (kernel_size - 1) // 2, dilation[1] * (kernel_size - 1) // 2)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)


def _levels(
    owner: str,
    in_channels: int,
    out_channels: Sequence[int],
    kernel_sizes: Sequence[int],
    groups: Sequence[int],
    stride: Pair,
    dilation: Pair,
    bias: bool,
) -> list[nn.Conv2d]:
    """The levels of a pyramid; ValueError unless the three lists have one entry a level."""
    checks.positive(owner, "in_channels", in_channels)
    strides = checks.pair(owner, "stride", stride)
    dilations = checks.pair(owner, "dilation", dilation)
    widths = checks.int_list(owner, "out_channels", out_channels)
    sizes = checks.int_list(owner, "kernel_sizes", kernel_sizes)
    counts = checks.int_list(owner, "groups", groups)
    if not len(widths) == len(sizes) == len(counts):
        raise ValueError(
            f"{owner}: out_channels, kernel_sizes and groups need one entry a level, got {widths}, {sizes} and {counts}"
        )
    return [
        _level(owner, in_channels, width, size, count, strides, dilations, bias)
        for width, size, count in zip(widths, sizes, counts, strict=True)
    ]


def level_widths(owner: str, out_channels: int | Sequence[int], levels: int) -> list[int]:
    """How a pyramid of 1 to 4 levels shares its output channels: ¼ each; ¼, ¼, ½; ½ each; all. Or as a list says.

    Raises ValueError for more levels and for a width that does not divide (never a silently smaller output).
    """
    if levels not in _QUARTERS:
        raise ValueError(f"{owner}: a pyramid has 1 to 4 levels, got {levels} kernel sizes")
    if isinstance(out_channels, Sequence):
        return checks.int_list(owner, "out_channels", out_channels)
    parts = 4 // min(_QUARTERS[levels])
    checks.multiple(owner, "out_channels", out_channels, parts, f"shares its output among {levels} levels")
    return [out_channels * quarters // 4 for quarters in _QUARTERS[levels]]


class _Pyramid(nn.Module):
    """Levels on the same input, concatenated: (N, in, H, W) → (N, Σ out, Ho, Wo)."""

    def _set_up(self, levels: Sequence[nn.Conv2d]) -> None:
        """Decide by the levels' groups in which memory format the CPU is to run them."""
        self.wants_channels_last = any(
            level.groups > 1 and level.out_channels // level.groups < _FULL_VECTOR for level in levels
        )

    def level_modules(self) -> Iterable[nn.Module]:
        """The levels, in the order of their outputs."""
        return self.children()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        if self.wants_channels_last and on_cpu(x):
            x = x.contiguous(memory_format=torch.channels_last)
        return torch.cat([level(x) for level in self.level_modules()], dim=1)


class PyConv2d(_Pyramid):
    """Levels of different kernel sizes and groups on the same input, concatenated: (N, in, H, W) → (N, Σ out, Ho, Wo).

    ``out_channels``, ``kernel_sizes`` (odd) and ``groups`` have one entry a level; a level is padded by
    dilation·(k − 1)/2, so that all have one size. ``stride`` and ``dilation`` may be pairs (rows, columns).
    Raises ValueError for lists of different lengths, even kernels and groups that do not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Sequence[int],
        kernel_sizes: Sequence[int],
        groups: Sequence[int],
        stride: Pair = 1,
        dilation: Pair = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        levels = _levels("PyConv2d", in_channels, out_channels, kernel_sizes, groups, stride, dilation, bias)
        self.pyconv_levels = nn.ModuleList(levels)
        self._set_up(levels)

    def level_modules(self) -> Iterable[nn.Module]:
        return self.pyconv_levels


class PyConvBNReLU(_Pyramid):
    """A pyramid whose every level is conv, batch norm and ReLU: (N, in, H, W) → (N, Σ out, Ho, Wo).

    The published form has a ``bias`` before the batch norm. Arguments and errors as in ``PyConv2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Sequence[int],
        kernel_sizes: Sequence[int],
        groups: Sequence[int],
        stride: Pair = 1,
        dilation: Pair = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        levels = _levels("PyConvBNReLU", in_channels, out_channels, kernel_sizes, groups, stride, dilation, bias)
        self.pyconv_list = nn.ModuleList(
            nn.Sequential(level, nn.BatchNorm2d(level.out_channels), nn.ReLU(inplace=True)) for level in levels
        )
        self._set_up(levels)

    def level_modules(self) -> Iterable[nn.Module]:
        return self.pyconv_list


class _SharedPyConv(_Pyramid):
    """A pyramid of ``levels`` levels that share ``out_channels``, or have one entry each; keys ``conv2_1``, …"""

    levels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int | Sequence[int],
        kernel_sizes: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        stride: Pair = 1,
        dilation: Pair = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        widths = level_widths(owner, out_channels, self.levels)
        sizes = KERNEL_SIZES[: self.levels] if kernel_sizes is None else kernel_sizes
        counts = GROUPS[: self.levels] if groups is None else groups
        levels = _levels(owner, in_channels, widths, sizes, counts, stride, dilation, bias)
        if len(levels) != self.levels:
            raise ValueError(f"{owner} has {self.levels} levels, got {len(levels)} kernel sizes")
        for number, level in enumerate(levels, start=1):
            self.add_module(f"conv2_{number}", level)
        self._set_up(levels)


class PyConv4(_SharedPyConv):
    """Four levels of a quarter each, kernels 3, 5, 7, 9, groups 1, 4, 8, 16: (N, in, H, W) → (N, out, Ho, Wo)."""

    levels = 4


class PyConv3(_SharedPyConv):
    """Three levels of ¼, ¼ and ½, kernels 3, 5, 7, groups 1, 4, 8: (N, in, H, W) → (N, out, Ho, Wo)."""

    levels = 3


class PyConv2(_SharedPyConv):
    """Two levels of a half each, kernels 3, 5, groups 1, 4: (N, in, H, W) → (N, out, Ho, Wo)."""

    levels = 2


def pyramid(
    in_channels: int,
    out_channels: int | Sequence[int],
    kernel_sizes: Sequence[int],
    groups: Sequence[int],
    stride: Pair = 1,
    dilation: Pair = 1,
    bias: bool = False,
) -> nn.Module:
    """The pyramid of 1 to 4 levels for these kernels; a single level is a plain conv with key ``weight``."""
    widths = level_widths("PyConv", out_channels, len(kernel_sizes))
    if len(kernel_sizes) == 1:
        return _levels("PyConv", in_channels, widths, kernel_sizes, groups, stride, dilation, bias)[0]
    kinds: dict[int, type[_SharedPyConv]] = {2: PyConv2, 3: PyConv3, 4: PyConv4}
    return kinds[len(kernel_sizes)](in_channels, widths, kernel_sizes, groups, stride, dilation, bias)
