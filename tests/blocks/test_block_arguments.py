"""Arguments that a block cannot take: one clear ValueError with the value, the rule and what fits."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import convblocks
from convblocks import factories
from tests.blocks.small_blocks import BLOCKS, SmallBlock

BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: convblocks.MRFA(30), "4 equal parts: dim must be a multiple of 4, got 30 (nearest: 28, 32)"),
    (lambda: convblocks.MRFA(2), "multiple of 4, got 2 (nearest: 4)"),
    (lambda: convblocks.MRFA(0), "at least 1, got 0"),
    (lambda: convblocks.MRFA(-64), "at least 1, got -64"),
    (lambda: convblocks.MRFA(6.5), "whole number of at least 1, got 6.5"),
    (lambda: convblocks.MRFA(True), "whole number of at least 1, got True"),
    (lambda: convblocks.UniConvNetBlock(30), "multiple of 4, got 30"),
    (lambda: convblocks.UniConvNetBlock(24, dcn_group_channels=16), "multiple of 16, got 24 (nearest: 16, 32)"),
    (lambda: convblocks.UniConvNetBlock(16, dcn_group_channels=0), "group_channels must be a whole number"),
    (lambda: convblocks.UniConvNetBlock(16, drop_path=1.0), "at least 0 and less than 1, got 1.0"),
    (
        lambda: convblocks.Conv2FormerBlock(16, kernel_size=10),
        "must be odd to keep the size, got 10 (nearest: 9, 11)",
    ),
    (lambda: convblocks.Conv2FormerBlock(16, mlp_ratio=0), "mlp_ratio must be a positive number, got 0"),
    (lambda: convblocks.Conv2FormerBlock(16, mlp_ratio=float("nan")), "positive number, got nan"),
    (lambda: convblocks.Conv2FormerBlock(16, mlp_ratio=0.01), "leaves no channel of 16"),
    (lambda: convblocks.Conv2FormerBlock(0), "dim must be a whole number of at least 1, got 0"),
    (lambda: convblocks.DRConv(8, 8, 3, regions=0), "regions must be a whole number of at least 1, got 0"),
    (lambda: convblocks.DRConv(8, 8, 3, padding=-1), "padding must be a whole number of at least 0, got -1"),
    (lambda: convblocks.DRConv(8, 8, 3, stride=0), "stride must be"),
    (lambda: convblocks.DRConvExperts(8, 8, 3, experts=0), "experts must be"),
    (
        lambda: convblocks.RefConv(8, 8, 3, groups=3),
        "both the 8 input and the 8 output channels, got 3 (nearest: 1, 2, 4)",
    ),
    (lambda: convblocks.RefConv(8, 8, 3, stride=(1, 0)), "stride must be a whole number of at least 1, got 0"),
    (lambda: convblocks.RefConv(8, 8, 3, map_k=0), "map_k must be a whole number of at least 1"),
    (lambda: convblocks.RefConv(8, 8, 3, map_k=5), "map_k must not exceed the kernel size 3, got 5"),
    (
        lambda: convblocks.PyConv2d(8, [4, 4], [3, 5, 7], [1, 1]),
        "one entry a level, got [4, 4], [3, 5, 7] and [1, 1]",
    ),
    (lambda: convblocks.PyConv2d(8, [4, 4], [3, 4], [1, 1]), "must be odd"),
    (
        lambda: convblocks.PyConv2d(8, [4, 4], [3, 5], [1, 8]),
        "level k=5: groups must divide both the 8 input",
    ),
    (lambda: convblocks.PyConv2d(8, [], [], []), "list of at least one whole number, got []"),
    (lambda: convblocks.PyConv4(64, 62), "out_channels must be a multiple of 4, got 62 (nearest: 60, 64)"),
    (lambda: convblocks.PyConv3(64, 66), "multiple of 4, got 66"),
    (lambda: convblocks.PyConv2(64, 63), "multiple of 2, got 63"),
    (lambda: convblocks.PyConv4(8, 8), "level k=5: groups must divide"),
    (lambda: convblocks.PyConvBottleneck(64, 0), "planes must be"),
    (
        lambda: convblocks.PyConvBottleneck(64, 64, 1, [3, 5, 7, 9, 11], [1] * 5),
        "1 to 4 levels, got 5",
    ),
    (lambda: factories.pyconv(64, kernels=[3, 5], groups=[1]), "one entry a level"),
    (lambda: factories.pyconv(64, kernels="3,5"), "list of at least one whole number, got '3,5'"),
    (lambda: factories.pyconv(64, kernels=[3, 0]), "whole number of at least 1, got 0"),
    (lambda: factories.pyconv_bottleneck(66), "dim must be a multiple of 4, got 66"),
    (lambda: factories.bottleneck(66), "dim must be a multiple of 4, got 66 (nearest: 64, 68)"),
    (lambda: factories.drconv(64, kernel_size=4), "kernel_size must be odd"),
    (lambda: factories.conv3x3(64, groups=7), "groups must divide both"),
    (lambda: factories.depthwise_separable(64, kernel_size=2), "must be odd"),
    (lambda: convblocks.ConvNeXtBlock(64, kernel_size=6), "must be odd"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_argument_is_a_clear_value_error(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


@pytest.mark.parametrize("block", [block for block in BLOCKS if "PyConv" not in block.name], ids=lambda b: b.name)
@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (8, 8), (1, 1, 1, 8, 8)])
def test_wrong_input_shape_is_an_error_that_names_it(block: SmallBlock, shape: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"shape|channels|size|dimension|3D|4D"):
        block.build()(torch.zeros(shape))


def test_integers_of_numpy_are_integers() -> None:
    assert convblocks.MRFA(np.int64(8)).dim == 8


def test_ratio_as_a_float_gives_the_same_block() -> None:
    shapes = [[p.shape for p in convblocks.Conv2FormerBlock(12, 5, r).parameters()] for r in (4, 4.0)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("kernels", "dim", "groups", "widths"),
    [
        (None, 64, [1, 4, 8, 16], [16, 16, 16, 16]),
        (None, 32, [1, 4, 8, 8], [8, 8, 8, 8]),
        ([3, 5], 64, [1, 4], [32, 32]),
        ([3, 5, 7], 64, [1, 4, 8], [16, 16, 32]),
        ([9], 30, [1], [30]),
        ([3, 5], 6, [1, 1], [3, 3]),
    ],
)
def test_pyconv_shares_channels_and_groups_by_its_kernels(
    kernels: list[int] | None, dim: int, groups: list[int], widths: list[int]
) -> None:
    convs = [module for module in factories.pyconv(dim, kernels=kernels).modules() if isinstance(module, nn.Conv2d)]
    assert [conv.groups for conv in convs] == groups
    assert [conv.out_channels for conv in convs] == widths
    assert [conv.kernel_size[0] for conv in convs] == (kernels or [3, 5, 7, 9])
