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
    SmallBlock("LKA", lambda: convblocks.LKA(4), 4, 4),
    SmallBlock("LSKA", lambda: convblocks.LSKA(4, 11), 4, 4),
    SmallBlock("LSK", lambda: convblocks.LSK(4), 4, 4, smooth=False),
    SmallBlock("InceptionDWConv", lambda: convblocks.InceptionDWConv(8), 8, 8),
    SmallBlock("GnConv", lambda: convblocks.GnConv(8, order=3), 8, 8),
    SmallBlock("WTConv", lambda: convblocks.WTConv(4, 3, levels=2), 4, 4),
    SmallBlock("PKI", lambda: convblocks.PKI(4), 4, 4),
    SmallBlock("FocalModulation", lambda: convblocks.FocalModulation(4), 4, 4),
    SmallBlock("MixConv", lambda: convblocks.MixConv(9), 9, 9),
    SmallBlock("Involution", lambda: convblocks.Involution(8, 3, group_channels=4), 8, 8, smooth=False),
    SmallBlock("CondConv", lambda: convblocks.CondConv(4, 6, experts=3), 4, 6),
    SmallBlock("DynamicConv", lambda: convblocks.DynamicConv(4, 6, stride=2), 4, 6, stride=2, smooth=False),
    SmallBlock("ODConv", lambda: convblocks.ODConv(4, 6), 4, 6, smooth=False),
    SmallBlock("RepVGG", lambda: convblocks.RepVGG(4, groups=2), 4, 4, smooth=False),
    SmallBlock("RepLargeKernel", lambda: convblocks.RepLargeKernel(4, 13, stride=2), 4, 4, stride=2),
    SmallBlock("DilatedReparam", lambda: convblocks.DilatedReparam(4, 9), 4, 4),
    SmallBlock("DCNv2", lambda: convblocks.DCNv2(4, 6, offset_groups=2), 4, 6, smooth=False),
    SmallBlock("DCNv2 stride 2", lambda: convblocks.DCNv2(4, stride=2), 4, 4, stride=2, smooth=False),
    SmallBlock("DCNv3", lambda: convblocks.DCNv3(8, 4), 8, 8, smooth=False),
    SmallBlock("DCNv4", lambda: convblocks.DCNv4(8, 4), 8, 8, smooth=False),
    SmallBlock("SnakeConv", lambda: convblocks.SnakeConv(4, 6, 5), 4, 6, smooth=False),
    SmallBlock("LDConv", lambda: convblocks.LDConv(4, 6, stride=2), 4, 6, stride=2, smooth=False),
    SmallBlock("PConv", lambda: convblocks.PConv(8), 8, 8),
    SmallBlock("FasterNetBlock", lambda: convblocks.FasterNetBlock(8), 8, 8, smooth=False),
    SmallBlock("StarBlock", lambda: convblocks.StarBlock(4), 4, 4, smooth=False),
    SmallBlock("GhostConv", lambda: convblocks.GhostConv(4, 5), 4, 5, smooth=False),
    SmallBlock("SCConv", lambda: convblocks.SCConv(8), 8, 8, smooth=False),
    SmallBlock("CoordConv", lambda: convblocks.CoordConv(4, 6, radius=True), 4, 6),
    SmallBlock("SE", lambda: convblocks.SE(8, 2), 8, 8, smooth=False),
    SmallBlock("ECA", lambda: convblocks.ECA(8), 8, 8),
    SmallBlock("CBAM", lambda: convblocks.CBAM(8, 2), 8, 8, smooth=False),
    SmallBlock("CoordAtt", lambda: convblocks.CoordAtt(8), 8, 8, smooth=False),
    SmallBlock("SimAM", lambda: convblocks.SimAM(4), 4, 4),
    SmallBlock("EMA", lambda: convblocks.EMA(8, 4), 8, 8),
    SmallBlock("SPDConv", lambda: convblocks.SPDConv(4, 6), 4, 6, stride=2),
    SmallBlock("HaarDownsampling", lambda: convblocks.HaarDownsampling(4, 6), 4, 6, stride=2, smooth=False),
]
