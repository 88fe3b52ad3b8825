"""Rules called with shapes, where no CPU has the operator or a term is easily lost: every figure by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convbench.measures.cost import Amount, Shape, measure_cost, table
from tests.cost.costing import Forward, meta


def amount(name: str, *args: Any, out: Any, **options: Any) -> Amount:
    row = table.find(name)
    assert row is not None
    given = row.price(*args, out=out, **options)
    return given if isinstance(given, Amount) else Amount(macs=given)


X, W, Y = Shape((2, 4, 8, 8)), Shape((6, 4, 3, 3)), Shape((2, 6, 8, 8))
MACS = 2 * 6 * 64 * 4 * 9


def convolution_backward(mask: list[bool]) -> Amount:
    sizes = [6] if mask[2] else None
    return amount(
        "aten::convolution_backward", Y, X, W, sizes, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask, out=(X, W, None)
    )


@pytest.mark.parametrize(
    ("mask", "gradients", "bias_sums"),
    [
        ([True, True, True], 2, 2 * 6 * 64),
        ([True, True, False], 2, 0),
        ([False, True, True], 1, 2 * 6 * 64),
        ([False, False, True], 0, 2 * 6 * 64),
    ],
)
def test_a_bias_gradient_sums_over_positions(mask: list[bool], gradients: int, bias_sums: int) -> None:
    found = convolution_backward(mask)
    assert (found.macs, found.other_flops) == (gradients * MACS, bias_sums)
    assert found.flops == 2 * gradients * MACS + bias_sums


def test_a_linear_layers_bias_gradient() -> None:
    asked = amount("aten::linear_backward", Shape((5, 4)), Shape((5, 6)), Shape((6, 4)), [True, False, True], out=None)
    assert (asked.macs, asked.other_flops) == (5 * 6 * 4, 30)


@pytest.mark.parametrize(
    ("mode", "neighbours", "each_position"),
    [(0, 4, 2 * (3 + 1 + 2) + 4), (1, 0, 2 * (3 + 1)), (2, 16, 2 * (3 + 1) + 2 * (2 * 5 + 2 * 6 + 3) + 16)],
)
@pytest.mark.parametrize(("mask", "parts"), [([True, True], 3), ([True, False], 1), ([False, True], 2), (None, 3)])
def test_grid_sample_backward(mode: int, neighbours: int, each_position: int, mask: Any, parts: int) -> None:
    """Each gradient is scattered to its neighbours; each of two coordinates' slope takes them all once."""
    grad, grid = Shape((2, 4, 5, 5)), Shape((2, 5, 5, 2))
    found = amount("aten::grid_sampler_2d_backward", grad, X, grid, mode, 0, False, mask, out=None)
    assert (found.sampling_macs, found.other_flops) == (2 * 4 * 25 * neighbours * parts, 50 * each_position)
    assert found.flops == 2 * found.sampling_macs + found.other_flops


def test_grid_sample_backward_in_three_dimensions() -> None:
    grad, grid = Shape((1, 4, 2, 3, 3)), Shape((1, 2, 3, 3, 3))
    found = amount("aten::grid_sampler_3d_backward", grad, X, grid, 0, 0, False, [True, True], out=None)
    assert (found.sampling_macs, found.other_flops) == (4 * 18 * 8 * 4, 18 * (3 * 6 + 4 + 8))


def test_region_pooling_backward() -> None:
    """10 regions of 7×7 bins, 2² samples each: 4 neighbours a sample and channel, a quotient, 12 a position."""
    grad, regions = Shape((10, 4, 7, 7)), Shape((10, 5))
    found = amount("torchvision::_roi_align_backward", grad, regions, 0.25, 7, 7, 2, 4, 8, 8, 2, False, out=X)
    assert (found.sampling_macs, found.other_flops) == (4 * 4 * 10 * 4 * 49, 10 * 4 * 49 + 10 * 49 * 4 * 12)


def test_weight_norm_backward() -> None:
    """Σ grad·v, 2n; (grad − v·a)·b, 3n; 4 a row."""
    v, g = Shape((6, 4, 3, 3)), Shape((6, 1, 1, 1))
    assert amount("aten::_weight_norm_interface_backward", v, v, g, g, 0, out=(v, g)).flops == 5 * 216 + 4 * 6
    assert amount("aten::_weight_norm_interface", v, g, 0, out=(v, g)).flops == 3 * 216 + 2 * 6


@pytest.mark.parametrize(("beta", "alpha", "each"), [(1, 1, 1), (0, 1, 0), (2, 1, 2), (1, 3, 2), (0, 3, 1), (2, 3, 3)])
@pytest.mark.parametrize("name", ["addmm", "baddbmm", "addmv"])
def test_a_beta_of_zero_skips_the_addition(name: str, beta: float, alpha: float, each: int) -> None:
    shapes = {
        "addmm": ((2, 6), (2, 4), (4, 6)), "baddbmm": ((3, 2, 6), (3, 2, 4), (3, 4, 6)), "addmv": ((2,), (2, 4), (4,)),
    }[name]  # fmt: skip
    out, a, b = (meta(*sizes) for sizes in shapes)
    module = Forward(lambda _, out, a, b: getattr(torch, name)(out, a, b, beta=beta, alpha=alpha))
    cost = measure_cost(module, (out, a, b))
    assert cost.flops == 2 * cost.macs + each * out.numel()
    assert cost.macs == out.numel() * 4


STRIDED, PADDED, DILATED = [2, 1], [0, 3], [1, 2]
OUT = Shape((2, 6, 3, 10))  # rows (8 − 3)/2 + 1 (floor), columns 8 + 6 − 2·2


def test_kernels_that_order_their_arguments_otherwise() -> None:
    """ATen: stride, padding, dilation. cuDNN, MIOpen and oneDNN: padding, stride, dilation."""
    plain = amount(
        "aten::convolution", X, W, None, STRIDED, PADDED, DILATED, False, [0, 0], 1, out=OUT
    )  # fmt: skip
    # Along a row 10 positions of 3 taps, 2 apart: 8 of 10, 8 of 10 and 8 of 10 meet one of 8 columns but for padding 3.
    taps = sum(0 <= position + 2 * tap - 3 < 8 for position in range(10) for tap in range(3))
    assert (plain.macs, plain.padding_macs) == (2 * 6 * 30 * 36, 2 * 6 * 4 * 3 * 3 * (30 - taps))
    others = {
        "aten::cudnn_convolution": (PADDED, STRIDED, DILATED, 1, False, False, True),
        "aten::miopen_convolution": (None, PADDED, STRIDED, DILATED, 1, False, False),
        "aten::mkldnn_convolution": (None, PADDED, STRIDED, DILATED, 1),
    }
    for name, rest in others.items():
        assert amount(name, X, W, *rest, out=OUT) == plain, name


def test_instance_norm_is_a_group_norm_with_a_group_for_each_channel() -> None:
    for affine in (False, True):
        pair = nn.InstanceNorm2d(8, affine=affine), nn.GroupNorm(8, 8, affine=affine)
        for training in (False, True):
            costs = [measure_cost(module, (meta(2, 8, 10, 10),), training=training) for module in pair]
            rows = [next(row for row in cost.operators if row.name.endswith("norm")) for cost in costs]
            assert rows[0].flops == rows[1].flops == (5 + 2 * affine) * 1600 + 4 * 16
            backward = [sum(row.flops for row in cost.operators if "norm_backward" in row.name) for cost in costs]
            assert backward[0] == backward[1]


def test_a_norm_over_one_sample_without_kept_statistics_is_one_too() -> None:
    x = meta(1, 8, 10, 10)
    alone = measure_cost(Forward(lambda _, x: F.batch_norm(x, None, None, training=True)), (x,))
    assert alone.flops == measure_cost(nn.InstanceNorm2d(8), (x,)).flops
