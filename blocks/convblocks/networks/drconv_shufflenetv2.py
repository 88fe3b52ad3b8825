"""ShuffleNetV2 with region-aware 1×1 convolutions (DRConv, CVPR 2021, arXiv:2003.12243)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.drconv import ExpertFilters, expert_conv, expert_conv_macs
from convblocks.networks.staged import classifier
from convblocks.region_conv import Geometry

REGIONS = 8
EXPERTS = 8
DEPTHS = (4, 8, 4)
STEM_WIDTH = 24
HEAD_WIDTH = 1024
_POINTWISE = Geometry((1, 1), (0, 0))


class _ConvBN(nn.Module):
    """Conv and batch norm, then ReLU where ``activate``."""

    def __init__(self, conv: nn.Conv2d, activate: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels)
        self.act: nn.Module = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class RegionConvBNReLU(nn.Module):
    """Region-aware 1×1 conv of mixed experts under a given guide, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ExpertFilters(in_channels, out_channels, 1, REGIONS, EXPERTS)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x: (N, C, H, W); guide: (N, regions, H', W'), resized to x where it is larger."""
        y: Tensor = self.act(self.bn(expert_conv(x, self.conv, guide, _POINTWISE)))
        return y

    def algorithmic_macs(self, x: Tensor, guide: Tensor) -> int:
        """MACs of one forward for inputs of these shapes if each pixel meets one filter."""
        return expert_conv_macs(x, self.conv, _POINTWISE)


class ShuffleBlock(nn.Module):
    """A ShuffleNetV2 block whose right branch's 1×1 convs choose a filter by region: (N, in, H, W) → (N, out, Ho, Wo).

    Stride 1 (in = out): the even channels pass, the odd ones go right. Stride 2: both branches take the whole input;
    the left keeps its width, and the right gives the rest. One guide serves both region-aware convs.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        # Uneven where a stage does not double the width: 24 of 116 channels come from the left.
        left, right = (in_channels, in_channels) if stride == 2 else (half, in_channels // 2)
        self.masknet = nn.Conv2d(right, REGIONS, 1, bias=False)
        self.conva_right = RegionConvBNReLU(right, half)
        self.convb_right = _ConvBN(_depthwise(half, stride), activate=False)
        self.convc_right = RegionConvBNReLU(half, out_channels - left)
        self.conva_left: nn.Module | None = None
        if stride == 2:
            self.conva_left = _ConvBN(_depthwise(in_channels, 2), activate=False)
            self.convb_left = _ConvBN(nn.Conv2d(in_channels, left, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in, H, W)."""
        if self.conva_left is None:
            left, right = x[:, ::2], x[:, 1::2].contiguous()
        else:
            left, right = self.convb_left(self.conva_left(x)), x
        guide = self.masknet(right)
        right = self.convb_right(self.conva_right(right, guide))
        return torch.cat((left, self.convc_right(right, guide)), dim=1)


def _depthwise(dim: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, 3, stride, padding=1, groups=dim, bias=False)


class DRConvShuffleNetV2(nn.Module):
    """ShuffleNetV2 of three stages of 4, 8 and 4 blocks: (N, in_chans, H, W) → (N, num_classes).

    ``widths``: channels of the stages. A ``features_only`` network gives the stages' maps, at 1/8, 1/16 and 1/32.
    """

    def __init__(
        self, widths: tuple[int, int, int], num_classes: int = 1000, in_chans: int = 3, features_only: bool = False
    ) -> None:
        super().__init__()
        checks.non_negative("DRConvShuffleNetV2", "num_classes", num_classes)
        checks.positive("DRConvShuffleNetV2", "in_chans", in_chans)
        self.num_classes, self.in_chans, self.features_only = num_classes, in_chans, features_only
        self.conv_first = _ConvBN(nn.Conv2d(in_chans, STEM_WIDTH, 3, stride=2, padding=1))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self._stages: list[list[str]] = []
        channels = STEM_WIDTH
        for stage, (depth, width) in enumerate(zip(DEPTHS, widths, strict=True), start=1):
            names = [f"stage{stage}_block{number}" for number in range(1, depth + 1)]
            for name in names:
                self.add_module(name, ShuffleBlock(channels, width, stride=2 if channels != width else 1))
                channels = width
            self._stages.append(names)
        if not features_only:
            self.conv_last = _ConvBN(nn.Conv2d(channels, HEAD_WIDTH, 1))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = classifier(HEAD_WIDTH, num_classes)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The stages' maps of images x: (N, in_chans, H, W)."""
        checks.feature_map("DRConvShuffleNetV2", self.in_chans, x.shape)
        x = self.maxpool(self.conv_first(x))
        maps = []
        for names in self._stages:
            for name in names:
                x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """x: (N, in_chans, H, W). Logits, or the stages' maps of a ``features_only`` network."""
        maps = self.forward_features(x)
        if self.features_only:
            return maps
        logits: Tensor = self.classifier(self.avgpool(self.conv_last(maps[-1])).flatten(1))
        return logits


class _Factory(Protocol):
    def __call__(
        self, num_classes: int = 1000, in_chans: int = 3, features_only: bool = False
    ) -> DRConvShuffleNetV2: ...


def _variant(name: str, widths: tuple[int, int, int]) -> _Factory:
    def build(num_classes: int = 1000, in_chans: int = 3, features_only: bool = False) -> DRConvShuffleNetV2:
        return DRConvShuffleNetV2(widths, num_classes, in_chans, features_only)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}: stages of {widths} channels, {REGIONS} regions, {EXPERTS} experts."
    return build


drconv_shufflenetv2_x0_5 = _variant("drconv_shufflenetv2_x0_5", (48, 96, 192))
drconv_shufflenetv2_x1_0 = _variant("drconv_shufflenetv2_x1_0", (116, 232, 464))
drconv_shufflenetv2_x1_5 = _variant("drconv_shufflenetv2_x1_5", (176, 352, 704))
