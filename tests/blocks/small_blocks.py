"""Every block in a small form, with the options that a property test needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import convblocks
from convblocks import factories
from tests.blocks.golden_data import fill


@dataclass(frozen=True, slots=True)
class SmallBlock:
    """How to build a block of ``channels`` in, what it gives out, and how it behaves."""

    name: str
    build: Callable[[], nn.Module]
    channels: int
    out_channels: int
    stride: int = 1
    smooth: bool = True  # differentiable, so that finite differences agree with its gradient

    def filled(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """In eval mode, with weights that use every branch (fresh layer scales of 1e-6 would hide most)."""
        return fill(self.build()).to(dtype).eval()


BLOCKS = [
    SmallBlock("MRFA", lambda: convblocks.MRFA(8), 8, 8),
    SmallBlock("UniConvNetBlock", lambda: convblocks.UniConvNetBlock(8, dcn_group_channels=4), 8, 8, smooth=False),
    SmallBlock("DRConv", lambda: convblocks.DRConv(4, 6, 3, regions=3, padding=1), 4, 6, smooth=False),
    SmallBlock("DRConv stride 2", lambda: factories.drconv(4, stride=2, regions=4), 4, 4, stride=2, smooth=False),
    SmallBlock("DRConvExperts", lambda: factories.drconv_experts(4, 6, regions=3, bias=True), 4, 6, smooth=False),
    SmallBlock(
        "DRConvExperts stride 2", lambda: factories.drconv_experts(4, experts=3, stride=2), 4, 4, stride=2, smooth=False
    ),
    SmallBlock("Conv2Former", lambda: convblocks.Conv2FormerBlock(6, kernel_size=5), 6, 6),
    SmallBlock("RefConv", lambda: factories.refconv(4, 6), 4, 6),
    SmallBlock("RefConv depthwise stride 2", lambda: factories.refconv(4, groups=4, stride=2), 4, 4, stride=2),
    SmallBlock("RefConvBlock", lambda: factories.refconv_block(4, 6), 4, 6, smooth=False),
    SmallBlock("PyConv", lambda: factories.pyconv(8), 8, 8),
    SmallBlock("PyConv two levels stride 2", lambda: factories.pyconv(8, 4, [3, 5], stride=2), 8, 4, stride=2),
    SmallBlock("PyConvBNReLU", lambda: factories.pyconv_bn_relu(8), 8, 8, smooth=False),
    SmallBlock("PyConvBottleneck", lambda: factories.pyconv_bottleneck(16), 16, 16, smooth=False),
    SmallBlock(
        "PyConvBottleneck stride 2",
        lambda: factories.pyconv_bottleneck(8, 4, kernels=[3, 5], stride=2),
        8,
        16,
        stride=2,
        smooth=False,
    ),
    SmallBlock("PyConvBasicBlock1", lambda: convblocks.PyConvBasicBlock1(8, 16, 2, [3, 5], [1, 4]), 8, 16, 2, False),
    SmallBlock("PyConvBasicBlock2", lambda: convblocks.PyConvBasicBlock2(8, 16, 1, [3, 5], [1, 4]), 8, 16, 1, False),
    SmallBlock("Conv3x3", lambda: factories.conv3x3(4, 6), 4, 6, smooth=False),
    SmallBlock("DepthwiseSeparable", lambda: factories.depthwise_separable(4, 6, stride=2), 4, 6, 2, smooth=False),
    SmallBlock("ConvNeXt", lambda: convblocks.ConvNeXtBlock(6), 6, 6),
    SmallBlock("Bottleneck", lambda: factories.bottleneck(8), 8, 8, smooth=False),
    SmallBlock("Bottleneck stride 2", lambda: factories.bottleneck(8, 4, stride=2), 8, 16, stride=2, smooth=False),
]
