"""Deformable sampling against a sum written out point by point, and by both of its algorithms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from convblocks import DeformableConv
from convblocks.deform import _sample_by_grid, _sample_by_lookup, deformable_sample

FORMS = [_sample_by_lookup, _sample_by_grid]
each_form = pytest.mark.parametrize("sample", FORMS, ids=lambda form: form.__name__)


def operands(batch: int, height: int, width: int, channels: int, groups: int, reach: float = 2) -> list[Tensor]:
    torch.manual_seed(height)
    shapes = (channels, groups * 18, groups * 9)
    value, offset, mask = (torch.randn(batch, height, width, c, dtype=torch.float64) for c in shapes)
    return [value, offset * reach, mask]


def point_by_point(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    batch, height, width, channels = value.shape
    offset, mask = offset.view(batch, height, width, groups, 9, 2), mask.view(batch, height, width, groups, 9)
    per_group = channels // groups
    y = torch.zeros_like(value)
    points = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    for n, i, j, g in torch.cartesian_prod(*(torch.arange(s) for s in (batch, height, width, groups))).tolist():
        channel = slice(g * per_group, (g + 1) * per_group)
        for p, (dx, dy) in enumerate(points):
            px, py = (float(base + off) for base, off in zip((j + dx, i + dy), offset[n, i, j, g, p], strict=True))
            for row in (math.floor(py), math.floor(py) + 1):
                for column in (math.floor(px), math.floor(px) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        weight = (1 - abs(py - row)) * (1 - abs(px - column)) * mask[n, i, j, g, p]
                        y[n, i, j, channel] += weight * value[n, row, column, channel]
    return y


@each_form
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "groups", "reach"),
    [(2, 5, 4, 6, 2, 1), (1, 7, 3, 4, 1, 4), (1, 1, 6, 4, 4, 2), (1, 4, 8, 3, 3, 1e3), (1, 5, 5, 2, 1, 0)],
)
def test_sampling_is_the_masked_bilinear_sum(
    sample: object, batch: int, height: int, width: int, channels: int, groups: int, reach: float
) -> None:
    case = operands(batch, height, width, channels, groups, reach)
    assert callable(sample)
    torch.testing.assert_close(sample(*case, groups), point_by_point(*case, groups), rtol=1e-9, atol=1e-9)


def test_both_forms_have_the_same_gradients() -> None:
    case = [tensor.requires_grad_() for tensor in operands(2, 6, 5, 8, 2)]
    weights = torch.randn(2, 6, 5, 8, dtype=torch.float64)
    by_lookup, by_grid = (torch.autograd.grad((form(*case, 2) * weights).sum(), case) for form in FORMS)
    for one, other in zip(by_lookup, by_grid, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_gradients_agree_with_finite_differences() -> None:
    case = [tensor.requires_grad_() for tensor in operands(1, 3, 4, 4, 2)]
    assert torch.autograd.gradcheck(lambda *tensors: deformable_sample(*tensors, 2), case, fast_mode=True)


@each_form
def test_whole_offsets_move_values_without_rounding(sample: object) -> None:
    value = torch.randn(1, 57, 43, 4)
    offset = torch.zeros(1, 57, 43, 1, 9, 2)
    offset[..., 0], offset[..., 1] = 3, -5
    mask = torch.zeros(1, 57, 43, 9)
    mask[..., 4] = 1
    assert callable(sample)
    moved = sample(value, offset.view(1, 57, 43, 18), mask, 1)
    expected = torch.zeros_like(value)
    expected[:, 5:, :-3] = value[:, :-5, 3:]
    assert torch.equal(moved, expected)


def test_lookup_has_no_rounding_loss_far_from_the_origin() -> None:
    case = operands(1, 3, 600, 2, 1, 0.5)
    exact = deformable_sample(*case, 1)
    single = deformable_sample(*(tensor.float() for tensor in case), 1)
    assert (single - exact).abs().max() < 2e-6


@each_form
def test_a_nan_offset_gives_nan_where_it_is_used_and_nothing_else(sample: object) -> None:
    value, offset, mask = operands(1, 4, 5, 2, 1, 0.3)
    assert callable(sample)
    before = sample(value, offset, mask, 1)
    offset[0, 2, 3] = math.nan
    after = sample(value, offset, mask, 1)
    untouched = torch.ones(4, 5, dtype=torch.bool)
    untouched[2, 3] = False
    assert torch.equal(after[0, untouched], before[0, untouched])


def test_half_precision_samples_in_single() -> None:
    case = [tensor.bfloat16() for tensor in operands(1, 9, 40, 4, 2)]
    y = deformable_sample(*case, 2)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, deformable_sample(*(tensor.float() for tensor in case), 2).bfloat16())


def test_fresh_module_gives_its_output_bias() -> None:
    dcn = DeformableConv(16, 4)
    torch.nn.init.normal_(dcn.output_proj.bias)
    y = dcn(torch.randn(2, 6, 7, 16))
    assert torch.equal(y, dcn.output_proj.bias.expand_as(y))


def test_module_with_unit_masks_is_a_box_sum_of_its_projections() -> None:
    dcn = DeformableConv(8, 4).double()
    torch.nn.init.ones_(dcn.mask.bias)
    x = torch.randn(1, 6, 7, 8, dtype=torch.float64)
    value = dcn.input_proj(x).permute(0, 3, 1, 2)
    box = torch.nn.functional.avg_pool2d(value, 3, 1, 1, divisor_override=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(dcn(x), dcn.output_proj(box))
