"""Residual blocks around a pyramidal convolution (arXiv:2006.11538)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from convblocks import checks
from convblocks.checks import Pair
from convblocks.norm import Norm, norm_builder
from convblocks.pyconv import GROUPS, KERNEL_SIZES, pyramid


def shortcut(
    in_channels: int, out_channels: int, stride: Pair, pool: bool = False, norm_layer: Norm = "batch"
) -> nn.Module | None:
    """The shortcut of a PyConv block, None where it is the identity.

    A max-pool takes the stride (with ``pool`` also a stride of 1, as dilated stages have), a 1×1 conv with a norm
    the change of width: keys ``.1/.2`` after a pool, ``.0/.1`` without.
    """
    strides = checks.pair("shortcut", "stride", stride)
    layers: list[nn.Module] = [nn.MaxPool2d(3, strides, padding=1)] if pool or strides != (1, 1) else []
    if in_channels != out_channels:
        layers += [
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            norm_builder("PyConv", norm_layer)(out_channels),
        ]
    return nn.Sequential(*layers) if layers else None


class _Residual(nn.Module):
    """ReLU(branch(x) + shortcut(x)): (N, in, H, W) → (N, out, Ho, Wo)."""

    downsample: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        out: Tensor = self.relu(self.branch(x) + (x if self.downsample is None else self.downsample(x)))
        return out


class PyConvBottleneck(_Residual):
    """1×1, PyConv (with the stride), 1×1, and a shortcut: (N, in, H, W) → (N, planes·expansion, Ho, Wo).

    Each conv has a norm; ReLU after the first two and after the sum. The pyramid has one level for each of
    ``kernel_sizes``. ``downsample`` replaces the default shortcut: a max-pool for the stride, a 1×1 conv for the width.
    ``norm_layer``: batch, group, instance, layer, or what builds one from a width.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: Pair = 1,
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
        groups: Sequence[int] = GROUPS,
        expansion: int = 4,
        dilation: Pair = 1,
        downsample: nn.Module | None = None,
        norm_layer: Norm = "batch",
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("planes", planes), ("expansion", expansion)):
            checks.positive("PyConvBottleneck", name, value)
        out_channels = planes * expansion
        norm = norm_builder("PyConvBottleneck", norm_layer)
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = pyramid(planes, planes, kernel_sizes, groups, stride, dilation)
        self.bn2 = norm(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.downsample = (
            shortcut(in_channels, out_channels, stride, norm_layer=norm) if downsample is None else downsample
        )

    def branch(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.bn3(self.conv3(y))
        return out


class PyConvBasicBlock1(_Residual):
    """PyConv (with the stride), PyConv, and a shortcut: (N, in, H, W) → (N, planes, Ho, Wo).

    Each PyConv has a norm; ReLU after the first and after the sum. Arguments as in ``PyConvBottleneck``.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: Pair = 1,
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
        groups: Sequence[int] = GROUPS,
        downsample: nn.Module | None = None,
        dilation: Pair = 1,
        norm_layer: Norm = "batch",
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("planes", planes)):
            checks.positive(type(self).__name__, name, value)
        norm = norm_builder(type(self).__name__, norm_layer)
        self.conv1 = pyramid(in_channels, planes, kernel_sizes, groups, stride, dilation)
        self.bn1 = norm(planes)
        self.conv2 = self._second(planes, kernel_sizes, groups, dilation)
        self.bn2 = norm(planes)
        self.downsample = shortcut(in_channels, planes, stride, norm_layer=norm) if downsample is None else downsample

    @staticmethod
    def _second(planes: int, kernel_sizes: Sequence[int], groups: Sequence[int], dilation: Pair) -> nn.Module:
        return pyramid(planes, planes, kernel_sizes, groups, dilation=dilation)

    def branch(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.bn2(self.conv2(y))
        return out


class PyConvBasicBlock2(PyConvBasicBlock1):
    """PyConv (with the stride), 1×1 conv, and a shortcut: (N, in, H, W) → (N, planes, Ho, Wo).

    As ``PyConvBasicBlock1`` but for the second conv.
    """

    @staticmethod
    def _second(planes: int, kernel_sizes: Sequence[int], groups: Sequence[int], dilation: Pair) -> nn.Module:
        return nn.Conv2d(planes, planes, 1, bias=False)
