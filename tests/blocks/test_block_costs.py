"""Parameters and multiply–accumulates of the blocks against their closed forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import convblocks
from convblocks import factories


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def macs(build: Callable[[], nn.Module], *shape: int) -> int:
    """MACs of convolutions and matrix products of one forward, counted by torch on the meta device."""
    with torch.device("meta"), torch.no_grad():
        module, x = build().eval(), torch.empty(shape)
        with FlopCounterMode(display=False) as counter:
            module(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("dim", [4, 24, 64, 128, 320])
def test_mrfa_size_and_cost(dim: int) -> None:
    q = dim // 4
    assert params(convblocks.MRFA(dim)) == 50 * q**2 + 651 * q
    assert macs(lambda: convblocks.MRFA(dim), 2, dim, 14, 15) == (50 * q**2 + 601 * q) * 2 * 14 * 15


@pytest.mark.parametrize(("dim", "kernel_size", "ratio"), [(16, 7, 4), (64, 11, 4.0), (24, 5, 2), (8, 3, 1.5)])
def test_conv2former_size_and_cost(dim: int, kernel_size: int, ratio: float) -> None:
    def build() -> nn.Module:
        return convblocks.Conv2FormerBlock(dim, kernel_size, ratio)

    assert params(build()) == (3 + 2 * ratio) * dim**2 + (kernel_size**2 + 11 + 11 * ratio) * dim
    per_pixel = (3 + 2 * ratio) * dim**2 + (kernel_size**2 + 9 * ratio) * dim
    assert macs(build, 1, dim, 10, 9) == per_pixel * 90


@pytest.mark.parametrize(("dim", "group_channels"), [(32, 8), (64, 16), (24, 12)])
def test_uniconvnet_block_size_and_cost(dim: int, group_channels: int) -> None:
    def build() -> nn.Module:
        return convblocks.UniConvNetBlock(dim, group_channels)

    q, groups = dim // 4, dim // group_channels
    mrfa, norms, scales, mlp = 50 * q**2 + 651 * q, 4 * dim, 3 * dim, 8 * dim**2 + 5 * dim
    dcn = 2 * dim**2 + 12 * dim + 27 * groups * (dim + 1)
    assert params(build()) == mrfa + norms + scales + mlp + dcn
    per_pixel = 50 * q**2 + 601 * q + 10 * dim**2 + 9 * dim + 27 * groups * dim
    assert macs(build, 2, dim, 7, 8) == per_pixel * 112


@pytest.mark.parametrize(("channels_in", "channels_out", "k", "m"), [(64, 64, 3, 8), (8, 12, 3, 4), (6, 5, 1, 3)])
def test_drconv_size(channels_in: int, channels_out: int, k: int, m: int) -> None:
    i, o = channels_in, channels_out
    expected = i * m**2 + m**2 + m**2 * i * o + m * i * o + m * i * k**2 + m
    assert params(convblocks.DRConv(i, o, k, regions=m)) == expected


def test_drconv_of_the_reference_case_has_303688_parameters() -> None:
    assert params(convblocks.DRConv(64, 64, 3, padding=1)) == 303_688


@pytest.mark.parametrize(("k", "regions", "experts"), [(1, 8, 8), (3, 4, 5)])
def test_drconv_experts_size(k: int, regions: int, experts: int) -> None:
    block = convblocks.DRConvExperts(12, 16, k, regions, experts)
    assert params(block) == 12 * 16 * k**2 * experts + 13 * regions * experts + 12 * regions


@pytest.mark.parametrize(("groups", "k", "map_k"), [(1, 3, 3), (4, 5, 3), (16, 7, 5), (2, 3, 1)])
def test_refconv_size_and_extra_cost(groups: int, k: int, map_k: int) -> None:
    def build() -> nn.Module:
        return convblocks.RefConv(16, 32, k, groups=groups, map_k=map_k)

    assert params(build()) == 16 * 32 * map_k**2
    plain = 12 * 13 * 16 * 32 * k**2 // groups
    for batch in (1, 3):
        assert macs(build, batch, 16, 12, 13) == batch * plain + 16 * 32 * k**2 * map_k**2


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_pyramid_size_and_cost(levels: int) -> None:
    kinds = {2: convblocks.PyConv2, 3: convblocks.PyConv3, 4: convblocks.PyConv4}
    widths = {2: (64, 64), 3: (32, 32, 64), 4: (32, 32, 32, 32)}[levels]
    each = [64 // g * o * k**2 for o, k, g in zip(widths, (3, 5, 7, 9), (1, 4, 8, 16), strict=False)]
    assert params(kinds[levels](64, 128)) == sum(each)
    assert macs(lambda: kinds[levels](64, 128, stride=2), 1, 64, 16, 10) == sum(each) * 40


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (convblocks.MRFA, 70_296_576),
        (convblocks.Conv2FormerBlock, 172_806_144),
        (factories.refconv_block, 115_605_504 + 331_776),
        (factories.refconv, 115_605_504 + 331_776),
        (factories.drconv, 941_690_880),
        (factories.drconv_experts, 8 * 115_605_504 + 1_605_632 + 4_096 + 2_359_296),
        (factories.pyconv, 84_897_792),
        (factories.conv3x3, 115_605_504),
        (factories.depthwise_separable, 3136 * (64 * 9 + 64 * 64)),
        (convblocks.ConvNeXtBlock, 3136 * (64 * 49 + 8 * 64**2)),
        (factories.bottleneck, 3136 * (2 * 64 * 16 + 9 * 16**2)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_cost_of_the_reference_case(factory: Callable[[int], nn.Module], expected: int) -> None:
    assert macs(lambda: factory(64), 1, 64, 56, 56) == expected


@pytest.mark.parametrize("factory", [factories.refconv, factories.refconv_block])
def test_fused_refconv_costs_the_plain_conv(factory: Callable[..., nn.Module]) -> None:
    fused = factory(64, fused=True)
    assert macs(lambda: factory(64, fused=True), 1, 64, 56, 56) == 115_605_504
    assert next(type(module) for module in fused.modules() if hasattr(module, "weight")) is nn.Conv2d


def test_algorithmic_macs_of_drconv_count_one_filter_a_pixel() -> None:
    block = factories.drconv(64)
    expected = 115_605_504 + 14_450_688 + 36_864 + 2_359_296
    assert block.algorithmic_macs(torch.empty(1, 64, 56, 56, device="meta")) == expected


def test_algorithmic_macs_of_drconv_experts_count_one_filter_a_pixel() -> None:
    block = factories.drconv_experts(64)
    expected = 115_605_504 + 1_605_632 + 4_096 + 2_359_296
    assert block.algorithmic_macs(torch.empty(1, 64, 56, 56, device="meta")) == expected


@pytest.mark.parametrize("factory", [factories.drconv, factories.drconv_experts])
@pytest.mark.parametrize("stride", [1, 2])
def test_algorithmic_macs_are_what_inference_on_the_cpu_executes(
    factory: Callable[..., nn.Module], stride: int
) -> None:
    block, x = factory(32, 48, stride=stride).eval(), torch.randn(2, 32, 57, 40)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        block(x)
    assert counter.get_total_flops() == 2 * block.algorithmic_macs(x)


def test_sampling_macs_are_five_for_each_of_nine_samples() -> None:
    dcn = convblocks.DeformableConv(32, 8)
    assert dcn.sampling_macs(torch.empty(2, 14, 15, 32)) == 5 * 9 * 2 * 14 * 15 * 32
