"""Region-aware convolution: one filter a pixel, exact gradients, the same result by either algorithm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from convblocks import DRConv, DRConvExperts, region_conv
from convblocks.region_conv import Geometry, _one_region_a_pixel


def pixel_by_pixel(x: Tensor, filters: Tensor, guide: Tensor, where: Geometry) -> Tensor:
    """Each output pixel by its own dot product with its region's filter."""
    (down, across), (above, left), (step_down, step_across) = where.stride, where.padding, where.dilation
    x = F.pad(x, (left, left, above, above))
    k = filters.shape[-1]
    y = x.new_empty(x.shape[0], filters.shape[2], *guide.shape[2:])
    for n in range(y.shape[0]):
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                rows = x[n, :, i * down : i * down + step_down * (k - 1) + 1 : step_down]
                patch = rows[..., j * across : j * across + step_across * (k - 1) + 1 : step_across]
                y[n, :, i, j] = (filters[n, guide[n, :, i, j].argmax()] * patch).sum((1, 2, 3))
    return y


def operands(
    batch: int, k: int, stride: int, size: int, dilation: int = 1, regions: int = 4
) -> tuple[Tensor, Tensor, Tensor, Geometry]:
    torch.manual_seed(batch * 100 + k * 10 + stride)
    x = torch.randn(batch, 3, size, size + 1, dtype=torch.float64)
    filters = torch.randn(batch, regions, 5, 3, k, k, dtype=torch.float64)
    where = Geometry((stride, stride % 2 + 1), (k // 2 * dilation, k), (dilation, 1))
    height, width = F.conv2d(x[:1, :1], filters[0, :1, 0, :1], None, where.stride, where.padding, where.dilation).shape[
        2:
    ]
    return x, filters, torch.randn(batch, regions, height, width, dtype=torch.float64), where


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3),
    k=st.integers(1, 5),
    stride=st.integers(1, 3),
    size=st.integers(5, 9),
    dilation=st.integers(1, 2),
)
def test_both_algorithms_give_every_pixel_its_region_s_filter(
    batch: int, k: int, stride: int, size: int, dilation: int
) -> None:
    case = operands(batch, k, stride, size, dilation)
    expected = pixel_by_pixel(*case)
    torch.testing.assert_close(_one_region_a_pixel(*case), expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(region_conv.region_conv(*case), expected, rtol=1e-12, atol=1e-12)
    x, *rest = case
    torch.testing.assert_close(region_conv.region_conv(x.requires_grad_(), *rest).detach(), expected)


def test_a_region_without_pixels_is_no_trouble() -> None:
    x, filters, guide, where = operands(2, 3, 1, 7)
    guide[:, 2] = -100
    guide[0, 1:] = -100
    expected = pixel_by_pixel(x, filters, guide, where)
    torch.testing.assert_close(_one_region_a_pixel(x, filters, guide, where), expected)


def test_gradients_are_the_one_hot_mask_and_the_softmax_jacobian() -> None:
    x, filters, guide, where = operands(2, 3, 1, 6)
    leaves = [tensor.requires_grad_() for tensor in (x, filters, guide)]
    y = region_conv.region_conv(*leaves, where)
    weights = torch.randn_like(y)
    of_x, of_filters, of_guide = torch.autograd.grad((y * weights).sum(), leaves)

    every = torch.stack([F.conv2d(x[n], filters[n].flatten(0, 1), None, where.stride, where.padding) for n in range(2)])
    every = every.view(2, 4, 5, *y.shape[2:])
    one_hot = F.one_hot(guide.argmax(1), 4).permute(0, 3, 1, 2)
    hard = (every * one_hot.unsqueeze(2)).sum(1)
    torch.testing.assert_close(y, hard)
    expected_x, expected_filters = torch.autograd.grad((hard * weights).sum(), [x, filters])
    torch.testing.assert_close(of_x, expected_x)
    torch.testing.assert_close(of_filters, expected_filters)

    soft = guide.detach().softmax(1)
    score = (every.detach() * weights.unsqueeze(1)).sum(2)
    torch.testing.assert_close(of_guide, soft * (score - (soft * score).sum(1, keepdim=True)))


def test_inference_evaluates_one_filter_a_pixel_and_training_all() -> None:
    block, x = DRConv(16, 16, 3, padding=1).eval(), torch.randn(1, 16, 40, 40)
    every_region = 8 * 1600 * 16 * 16 * 9
    executed = {}
    for grad in (True, False):
        with torch.set_grad_enabled(grad), FlopCounterMode(display=False) as counter:
            block(x)
        executed[grad] = counter.get_total_flops() // 2
    assert executed[True] - executed[False] == every_region * 7 // 8
    assert executed[False] == block.algorithmic_macs(x)


def test_small_maps_take_the_form_without_sorting() -> None:
    block, x = DRConv(4, 4, 1, regions=2).eval(), torch.randn(1, 4, 7, 7)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        block(x)
    assert counter.get_total_flops() // 2 == block.algorithmic_macs(x) + 49 * 16


def test_backward_costs_two_forwards() -> None:
    x, filters, guide, where = operands(1, 3, 1, 9)
    leaves = [tensor.requires_grad_() for tensor in (x, filters, guide)]
    with FlopCounterMode(display=False) as counter:
        y = region_conv.region_conv(*leaves, where)
        forward = counter.get_total_flops()
        y.sum().backward()
    assert forward == 2 * 4 * guide[:, 0].numel() * 5 * 3 * 9
    assert counter.get_total_flops() == 3 * forward


def test_experts_mix_as_defined() -> None:
    torch.manual_seed(0)
    block, x = DRConvExperts(6, 5, 3, regions=4, experts=3, padding=1).double(), torch.randn(2, 6, 9, 8).double()
    with torch.no_grad():
        alpha = 2 * torch.sigmoid(block.conv.routing_fc(x.mean((2, 3)))) / 3
        experts = block.conv.weight.view(5, 6, 3, 3, 3)
        filters = torch.einsum("nre,oihwe->nroihw", alpha.view(2, 4, 3), experts)
        torch.testing.assert_close(block(x), pixel_by_pixel(x, filters, block.masknet(x), Geometry((1, 1), (1, 1))))


def test_experts_resize_the_guide_to_a_smaller_output() -> None:
    torch.manual_seed(0)
    block, x = DRConvExperts(6, 5, 3, regions=4, stride=2, padding=1).double(), torch.randn(1, 6, 9, 12).double()
    with torch.no_grad():
        guide = block.masknet(x)[:, :, [0, 1, 3, 5, 7]][..., [0, 2, 4, 6, 8, 10]]
        torch.testing.assert_close(block(x), pixel_by_pixel(x, block.conv(x), guide, Geometry((2, 2), (1, 1))))


def test_experts_add_their_bias() -> None:
    block, x = DRConvExperts(4, 6, 1, bias=True).eval(), torch.randn(1, 4, 5, 5)
    before = block(x)
    with torch.no_grad():
        block.bias.copy_(torch.arange(6.0))
    torch.testing.assert_close(block(x) - before, torch.arange(6.0)[:, None, None].expand(1, 6, 5, 5))


def test_expert_initialisation_has_the_published_spread() -> None:
    torch.manual_seed(0)
    experts = DRConvExperts(24, 24, 3).conv
    bound = (6 / (24 * 9)) ** 0.5
    assert experts.weight.abs().max() <= bound
    assert experts.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert experts.routing_fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not experts.routing_fc.bias.any()
