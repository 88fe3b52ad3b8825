"""The blocks' costs, derived by hand from their definitions, for inference and for training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from convbench.measures.cost import Cost, cross_check, measure_cost
from convblocks import MRFA, Conv2FormerBlock, DRConv, PyConv2d, UniConvNetBlock, factories
from tests.cost.costing import assert_adds_up, meta

PIXELS = 56 * 56


def mrfa(quarter: int) -> int:
    """MACs of MRFA for a pixel: 50q² + 601q with q a quarter of the channels."""
    return 50 * quarter**2 + 601 * quarter


def conv2former(channels: int, kernel: int, ratio: int = 4) -> int:
    """Three and 2r pointwise convolutions, one k×k and one 3×3 depthwise."""
    return (3 + 2 * ratio) * channels**2 + channels * kernel**2 + ratio * channels * 9


DRCONV_ALL_REGIONS = 8 * PIXELS * 64 * 64 * 9 + PIXELS * 64 * 8 * 9 + 9 * 64 * 64 + 9 * 8 * 8 * 64 * 64
DRCONV_ONE_REGION = PIXELS * 64 * 64 * 9 + PIXELS * 64 * 8 * 9 + 9 * 64 * 64 + 9 * 8 * 8 * 64 * 64
REFCONV = PIXELS * 64 * 64 * 9
TRANSFORM = 64 * 64 * 9 * 9

# block, input sizes, MACs of a forward, MACs of a forward and backward over it
Case = tuple[Callable[[], nn.Module], tuple[int, ...], int, float]
BLOCKS: dict[str, Case] = {
    "MRFA at 56": (lambda: MRFA(64), (1, 64, 56, 56), mrfa(16) * PIXELS, 3),
    "MRFA at 64": (lambda: MRFA(64), (1, 64, 64, 64), mrfa(16) * 64 * 64, 3),
    "DRConv": (lambda: DRConv(64, 64, 3, padding=1), (1, 64, 56, 56), DRCONV_ALL_REGIONS, 3),
    "Conv2Former": (lambda: Conv2FormerBlock(64, 11), (1, 64, 56, 56), conv2former(64, 11) * PIXELS, 3),
    "RefConvBlock": (
        lambda: factories.refconv_block(64), (1, 64, 56, 56), REFCONV + TRANSFORM,
        (3 * REFCONV + 2 * TRANSFORM) / (REFCONV + TRANSFORM),  # its basis needs no gradient
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("mode", [False, True], ids=["evaluation", "train mode"])
def test_blocks_have_their_closed_form(name: str, mode: bool) -> None:
    build, size, macs, ratio = BLOCKS[name]
    block = build().train(mode)
    cost = measure_cost(block, (meta(*size),))
    assert (cost.macs, cost.uncounted, cost.method) == (macs, (), "meta")
    trained = measure_cost(block, (meta(*size),), training=True)
    assert (trained.forward_macs, trained.macs, trained.uncounted) == (macs, ratio * macs, ())
    for each in (cost, trained):
        assert_adds_up(each)


def test_published_figures_of_the_blocks() -> None:
    figures = {name: measure_cost(build(), (meta(*size),)).macs for name, (build, size, _, _) in BLOCKS.items()}
    assert figures == {
        "MRFA at 56": 70_296_576,
        "MRFA at 64": 91_815_936,
        "DRConv": 941_690_880,
        "Conv2Former": 172_806_144,
        "RefConvBlock": 115_937_280,
    }


def test_drconv_declares_one_filter_a_pixel() -> None:
    block = DRConv(64, 64, 3, padding=1).eval()
    cost = measure_cost(block, (meta(1, 64, 56, 56),))
    assert (cost.macs, cost.algorithmic_macs) == (941_690_880, 132_452_352)
    assert cost.algorithmic_macs == DRCONV_ONE_REGION == 115_605_504 + 14_450_688 + 36_864 + 2_359_296
    twice = measure_cost(nn.Sequential(block, block, nn.Conv2d(64, 8, 1)), (meta(1, 64, 56, 56),))
    assert twice.algorithmic_macs == 2 * DRCONV_ONE_REGION + PIXELS * 64 * 8
    trained = measure_cost(block, (meta(1, 64, 56, 56),), training=True)
    assert trained.algorithmic_macs is None
    assert measure_cost(MRFA(64), (meta(1, 64, 56, 56),), training=True).algorithmic_macs == 3 * 70_296_576


def test_a_declaration_covers_what_is_below_it() -> None:
    class Inner(nn.Conv2d):
        def algorithmic_macs(self, *inputs: object) -> int:
            return 10

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.other = Inner(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: object) -> object:
            return self.other(self.inner(x))

        def algorithmic_macs(self, *inputs: object) -> int:
            return 70

    one = 4 * 4 * 64
    x = meta(1, 4, 8, 8)
    assert measure_cost(Inner(4, 4, 1), (x,)).algorithmic_macs == 10
    assert measure_cost(nn.Sequential(Inner(4, 4, 1), nn.Conv2d(4, 4, 1)), (x,)).algorithmic_macs == 10 + one
    cost = measure_cost(nn.Sequential(Outer(), nn.Conv2d(4, 4, 1)), (x,))
    assert (cost.macs, cost.algorithmic_macs) == (3 * one, 70 + one)


def test_the_kernel_transform_does_not_grow_with_the_batch() -> None:
    block = factories.refconv_block(64)
    for batch in (1, 5):
        cost = measure_cost(block, (meta(batch, 64, 56, 56),))
        assert cost.batch_independent_macs == TRANSFORM == 331_776
        assert cost.macs_per_sample == REFCONV


def test_deformable_sampling_is_counted_apart_and_once() -> None:
    block = UniConvNetBlock(64)
    cost = measure_cost(block, (meta(1, 64, 56, 56),))
    assert cost.sampling_macs == 45 * 64 * PIXELS  # as the block declares: four taps and a mask for nine points
    assert_adds_up(cost)
    trained = measure_cost(block, (meta(1, 64, 56, 56),), training=True)
    assert trained.macs == 3 * cost.macs
    assert trained.sampling_macs > 3 * cost.sampling_macs
    assert_adds_up(trained)


def test_gathered_sampling_that_only_a_declaration_shows() -> None:
    class Gathering(nn.Module):
        def forward(self, x: object) -> object:
            return x[..., :2] * 0.5 + x[..., 2:] * 0.5

        def sampling_macs(self, *inputs: object) -> int:
            return 100

    cost = measure_cost(Gathering(), (meta(3, 4),))
    assert (cost.sampling_macs, cost.flops) == (100, 3 * 2 * 3)
    row = next(operator for operator in cost.operators if operator.sampling_macs)
    assert (row.name, row.calls) == ("Gathering.sampling_macs", 1)
    assert measure_cost(Gathering(), (meta(3, 4),), training=True).sampling_macs == 300
    assert_adds_up(cost)


def test_pyramidal_convolution() -> None:
    pyramid = PyConv2d(64, [16] * 4, [3, 5, 7, 9], [1, 4, 8, 16])
    expected = PIXELS * 16 * sum(64 // groups * kernel**2 for kernel, groups in ((3, 1), (5, 4), (7, 8), (9, 16)))
    cost = measure_cost(pyramid, (meta(1, 64, 56, 56),), training=True)
    assert (cost.forward_macs, cost.macs) == (expected, 3 * expected)


def torch_check(cost: Cost, block: nn.Module, size: tuple[int, ...]) -> tuple[int | None, set[str]]:
    check = cross_check(block, (meta(*size),), cost).checks[0]
    return check.total, {difference.reason for difference in check.differences}


@pytest.mark.parametrize(
    ("name", "times_forward"), [("MRFA at 64", 19.6), ("Conv2Former", 22.5), ("RefConvBlock", 14.7)]
)
def test_flop_counter_mode_agrees_forward_and_errs_by_the_groups_backward(name: str, times_forward: float) -> None:
    build, size, macs, _ = BLOCKS[name]
    block = build()
    assert torch_check(measure_cost(block, (meta(*size),)), block, size) == (macs, set())
    total, reasons = torch_check(measure_cost(block, (meta(*size),), training=True), block, size)
    assert total is not None
    if reasons:  # a torch whose formula divides by the groups agrees
        assert round(total / macs, 1) == times_forward
        assert all("number of groups" in reason for reason in reasons)
