"""What every block keeps: shapes, batch independence, determinism, state, gradients, dtypes, devices."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convblocks import region_conv
from tests.blocks.golden_data import numbers, relative_error
from tests.blocks.small_blocks import BLOCKS, SmallBlock

each_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)


def feature_map(block: SmallBlock, batch: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return numbers((batch, block.channels, height, width), 10000).to(dtype)


@each_block
@settings(max_examples=8)
@given(
    batch=st.integers(1, 3),
    height=st.integers(3, 15),
    width=st.integers(3, 15),
    channels_last=st.booleans(),
    grad=st.booleans(),
)
def test_shape_follows_the_stride_at_any_size(
    block: SmallBlock, batch: int, height: int, width: int, channels_last: bool, grad: bool
) -> None:
    x = feature_map(block, batch, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(grad):
        y = block.filled()(x)
    assert y.shape == (batch, block.out_channels, -(-height // block.stride), -(-width // block.stride))
    assert torch.isfinite(y).all()


@each_block
@settings(max_examples=5)
@given(batch=st.integers(2, 4), size=st.integers(5, 9), grad=st.booleans())
def test_samples_of_a_batch_do_not_meet(block: SmallBlock, batch: int, size: int, grad: bool) -> None:
    module, x = block.filled(torch.float64), feature_map(block, batch, size, size + 1, torch.float64)
    with torch.set_grad_enabled(grad):
        together = module(x)
        alone = torch.cat([module(sample) for sample in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


@each_block
@pytest.mark.parametrize("grad", [True, False])
def test_empty_batch_gives_an_empty_output(block: SmallBlock, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        y = block.filled()(torch.zeros(0, block.channels, 8, 8))
    assert y.shape == (0, block.out_channels, 8 // block.stride, 8 // block.stride)


@each_block
def test_two_forwards_are_bit_for_bit_equal(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 2, 9, 8)
    with torch.inference_mode():
        assert torch.equal(module(x), module(x))
    assert torch.equal(module(x), module(x))


@each_block
def test_forward_leaves_input_and_state_as_they_were(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 2, 9, 8)
    state, kept = copy.deepcopy(module.state_dict()), x.clone()
    with torch.inference_mode():
        module(x)
    module(x)
    assert torch.equal(x, kept)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@each_block
def test_result_does_not_depend_on_whether_gradients_are_asked_for(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 2, 12, 11)
    with torch.no_grad():
        without = module(x)
    assert relative_error(module(x).detach(), without) < 5e-6


@each_block
def test_every_parameter_and_the_input_get_a_gradient_in_both_modes(block: SmallBlock) -> None:
    for training in (True, False):
        module, x = block.filled().train(training), feature_map(block, 2, 9, 8).requires_grad_()
        module(x).square().sum().backward()
        assert x.grad is not None
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.smooth], ids=lambda block: block.name)
def test_gradient_agrees_with_finite_differences(block: SmallBlock) -> None:
    module, x = block.filled(torch.float64), feature_map(block, 1, 4, 3, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,), fast_mode=True)


@each_block
def test_float64_and_bfloat16_stay_in_their_dtype(block: SmallBlock) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                y = block.filled(dtype)(feature_map(block, 2, 9, 8, dtype))
            assert y.dtype == dtype
            assert torch.isfinite(y).all()


@each_block
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_one_result_with_and_without_gradients(
    block: SmallBlock, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_conv, "_MACS_WORTH_A_PRODUCT", 0)  # so that small maps take both algorithms
    module, x = block.filled(), feature_map(block, 2, 12, 11).requires_grad_()
    with torch.autocast("cpu", dtype):
        y = module(x)
        with torch.no_grad():
            without = module(x)
    y.float().sum().backward()
    assert y.dtype == without.dtype
    assert relative_error(without, y.detach()) < 0.02


@each_block
def test_memory_formats_agree(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 2, 12, 11)
    strided = torch.empty(2, block.channels, 12, 22)[..., ::2].copy_(x)
    for other in (x.contiguous(memory_format=torch.channels_last), strided):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                assert relative_error(module(other).detach(), module(x).detach()) < 5e-6


@each_block
def test_state_survives_a_round_trip(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 1, 8, 8)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh = block.build().eval()
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    for twin in (fresh, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))


@each_block
def test_meta_device_gives_the_shape_without_computing(block: SmallBlock) -> None:
    with torch.device("meta"):
        module = block.build().eval()
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            y = module(torch.empty(2, block.channels, 64, 48, device="meta"))
        assert y.is_meta
        assert y.shape == (2, block.out_channels, 64 // block.stride, 48 // block.stride)


@each_block
def test_frozen_parameters_leave_the_input_gradient_unchanged(block: SmallBlock) -> None:
    module, gradients = block.filled(), []
    for frozen in (False, True):
        x = feature_map(block, 1, 9, 8).requires_grad_()
        module.requires_grad_(not frozen)(x).square().sum().backward()
        gradients.append(x.grad)
    assert gradients[0] is not None
    assert gradients[1] is not None
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)


@each_block
def test_moving_to_float64_and_back_keeps_no_hidden_state(block: SmallBlock) -> None:
    module, x = block.filled(), feature_map(block, 1, 8, 8)
    before = module(x)
    module.double()(x.double())
    torch.testing.assert_close(module.float()(x), before)
