"""Blocks against stored outputs and input gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import convblocks
from tests.blocks.golden_data import OUTPUT_GRADIENT_NUMBER, GoldenCase, cases, fill, numbers, relative_error

CASES = cases("block")
TOLERANCE = 1e-5


def build(case: GoldenCase) -> nn.Module:
    return fill(getattr(convblocks, case.target)(**case.options)).train(case.training)


def input_gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    output = module(x)
    weights = numbers(tuple(output.shape), OUTPUT_GRADIENT_NUMBER).to(output.dtype)
    (gradient,) = torch.autograd.grad((output * weights).sum(), x)
    return output.detach(), gradient


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_block_has_the_published_size(case: GoldenCase) -> None:
    block = build(case)
    assert sum(parameter.numel() for parameter in block.parameters()) == case.params
    floating = [buffer for buffer in block.buffers() if buffer.is_floating_point()]
    assert sum(buffer.numel() for buffer in floating) == case.buffers
    assert len(block.state_dict()) == case.state_keys


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_block_matches_golden_output_and_gradient(
    case: GoldenCase, memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    block = build(case).to(dtype)
    x = case.input(dtype).contiguous(memory_format=memory_format)
    output, gradient = input_gradient(block, x)
    assert output.shape == case.output_shape
    assert relative_error(output, case.array("output")) < TOLERANCE
    assert relative_error(gradient, case.array("grad_input")) < TOLERANCE


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_block_without_gradients_matches_golden_output(case: GoldenCase, memory_format: torch.memory_format) -> None:
    x = case.input().contiguous(memory_format=memory_format)
    with torch.inference_mode():
        output = build(case)(x)
    assert relative_error(output, case.array("output")) < TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_block_in_bfloat16_stays_near_golden_output(case: GoldenCase) -> None:
    if case.target.startswith("DRConv"):
        pytest.skip("a rounded guide puts pixels into other regions")
    block = build(case).bfloat16()
    output, gradient = input_gradient(block, case.input(torch.bfloat16))
    assert output.dtype == gradient.dtype == torch.bfloat16
    assert relative_error(output, case.array("output")) < 0.05
    # A rounded activation passes a kink here and there: most of the gradient agrees, not its every element.
    expected = case.array("grad_input")
    assert (gradient.float() - expected).norm() < 0.15 * expected.norm()


@pytest.mark.parametrize("case", [case for case in CASES if case.buffers == 0], ids=lambda case: case.name)
def test_block_without_batch_norm_gives_one_result_in_both_modes(case: GoldenCase) -> None:
    block = build(case)
    results = [input_gradient(block.train(training), case.input()) for training in (True, False)]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
