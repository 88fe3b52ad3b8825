"""The blocks that a reader compares with: plain conv, depthwise-separable conv, ConvNeXt, ResNet's bottleneck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.drop import DropPath
from convblocks.norm import Norm, norm_builder


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]:
    """A bias-free conv that keeps the size but for its stride, batch norm, and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


class ConvBNReLU(nn.Sequential):
    """Conv, batch norm, ReLU: (N, in, H, W) → (N, out, Ho, Wo)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        checks.positive("ConvBNReLU", "stride", stride)
        checks.odd("ConvBNReLU", "kernel_size", kernel_size)
        checks.groups("ConvBNReLU", in_channels, out_channels, groups)
        super().__init__(*conv_bn_relu(in_channels, out_channels, kernel_size, stride, groups))


class DepthwiseSeparable(nn.Sequential):
    """Depthwise conv (with the stride), then 1×1 conv, each with batch norm and ReLU: (N, in, H, W) → (N, out, Ho, Wo).

    Source: Howard et al. 2017, MobileNets, section 3.1.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        checks.positive("DepthwiseSeparable", "in_channels", in_channels)
        checks.positive("DepthwiseSeparable", "out_channels", out_channels)
        checks.positive("DepthwiseSeparable", "stride", stride)
        checks.odd("DepthwiseSeparable", "kernel_size", kernel_size)
        super().__init__(
            *conv_bn_relu(in_channels, in_channels, kernel_size, stride, groups=in_channels),
            *conv_bn_relu(in_channels, out_channels, 1),
        )


class ConvNeXtBlock(nn.Module):
    """Depthwise conv, LayerNorm and MLP as one scaled residual: (N, C, H, W) → (N, C, H, W).

    x += gamma ⊙ Linear(GELU(Linear(LN(DWk(x))))), channels last from the norm on. ``gamma`` starts at
    ``layer_scale_init``; ``drop_path`` is the stochastic-depth rate. Keys as in the authors' checkpoints.
    Source: Liu et al. 2022, A ConvNet for the 2020s, section 2.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale_init: float = 1e-6,
    ) -> None:
        super().__init__()
        checks.positive("ConvNeXtBlock", "dim", dim)
        checks.odd("ConvNeXtBlock", "kernel_size", kernel_size)
        hidden = checks.hidden_width("ConvNeXtBlock", dim, mlp_ratio)
        self.dim = dim
        self.dwconv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(hidden, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("ConvNeXtBlock", self.dim, x.shape)
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.pwconv2(self.act(self.pwconv1(y))).permute(0, 3, 1, 2)
        return torch.addcmul(x, self.gamma[:, None, None], self.drop_path(y))


class Bottleneck(nn.Module):
    """ResNet's 1×1, 3×3 (with the stride), 1×1, and a shortcut: (N, in, H, W) → (N, planes·4, Ho, Wo).

    Each conv has a norm, batch norm by default; ReLU after the first two and after the sum. A change of shape gives the
    shortcut a strided 1×1 conv with a norm. Source: He et al. 2016, section 4.1, with the stride on the 3×3 conv.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, stride: int = 1, dilation: int = 1, norm_layer: Norm = "batch"
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("planes", planes),
            ("stride", stride),
            ("dilation", dilation),
        ):
            checks.positive("Bottleneck", name, value)
        out_channels = planes * self.expansion
        norm = norm_builder("Bottleneck", norm_layer)
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = norm(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out
