"""Convolutions against closed forms: forward, backward, padding, traffic; hyper-parameters drawn at random."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, assert_adds_up, meta

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def convolutions(draw: st.DrawFn, transposed: bool = False) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution of any rank on meta tensors, and an input size that it accepts."""
    rank = draw(st.integers(1, 3))
    small = st.integers(1, 4)
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    kernel = tuple(draw(small) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    reach = [gap * (size - 1) for gap, size in zip(dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, reach[axis] if transposed else 3)) for axis in range(rank))
    extent = tuple(reach[axis] + 1 + draw(st.integers(0, 4)) for axis in range(rank))
    kinds = TRANSPOSED if transposed else CONVOLUTIONS
    convolution = kinds[rank](
        groups * draw(small), groups * draw(small), kernel, stride, padding, dilation=dilation, groups=groups,
        bias=draw(st.booleans()), device="meta",
    )  # fmt: skip
    return convolution, (draw(st.integers(1, 3)), convolution.in_channels, *extent)


@settings(max_examples=40)
@given(convolutions(), st.booleans())
def test_a_convolution_costs_its_output_positions_times_its_weights(
    case: tuple[nn.Module, tuple[int, ...]], input_grad: bool
) -> None:
    convolution, size = case
    positions = tuple(convolution(meta(*size)).shape)
    forward = positions[0] * prod(positions[2:]) * convolution.weight.numel()
    bias = prod(positions) if convolution.bias is not None else 0
    cost = measure_cost(convolution, (meta(*size),))
    assert (cost.macs, cost.flops) == (forward, 2 * forward + bias)
    tensors = prod(size) + prod(positions) + sum(parameter.numel() for parameter in convolution.parameters())
    assert cost.bytes_moved == cost.ideal_bytes == 4 * tensors
    trained = measure_cost(convolution, (meta(*size),), training=True, input_grad=input_grad)
    assert trained.macs == (3 if input_grad else 2) * forward
    assert trained.forward_macs == forward
    assert_adds_up(trained)


@settings(max_examples=25)
@given(convolutions(transposed=True), st.booleans())
def test_a_transposed_convolution_costs_its_input_positions_times_its_weights(
    case: tuple[nn.Module, tuple[int, ...]], input_grad: bool
) -> None:
    convolution, size = case
    forward = size[0] * prod(size[2:]) * convolution.weight.numel()
    assert measure_cost(convolution, (meta(*size),)).macs == forward
    trained = measure_cost(convolution, (meta(*size),), training=True, input_grad=input_grad)
    assert trained.macs == (3 if input_grad else 2) * forward


def products_on_padding(convolution: nn.Module, size: tuple[int, ...], positions: tuple[int, ...]) -> int:
    """By enumeration: every position and tap of one channel pair that lies outside the input."""
    rank = len(size) - 2
    outside = 0
    for position in product(*(range(extent) for extent in positions[2:])):
        for tap in product(*(range(extent) for extent in convolution.kernel_size)):
            at = [
                position[axis] * convolution.stride[axis]
                - convolution.padding[axis]
                + tap[axis] * convolution.dilation[axis]
                for axis in range(rank)
            ]
            outside += any(not 0 <= at[axis] < size[axis + 2] for axis in range(rank))
    return outside * size[0] * convolution.out_channels * convolution.in_channels // convolution.groups


@settings(max_examples=20)
@given(convolutions())
def test_padding_macs_are_the_products_that_meet_a_padded_zero(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    convolution, size = case
    on_padding = products_on_padding(convolution, size, tuple(convolution(meta(*size)).shape))
    cost = measure_cost(convolution, (meta(*size),))
    assert cost.padding_macs == on_padding
    assert cost.padding_macs_share == on_padding / cost.macs
    assert measure_cost(convolution, (meta(*size),), training=True).padding_macs == 3 * on_padding


@pytest.mark.parametrize(("extent", "percent"), [(14, 35), (7, 63)])
def test_a_third_to_two_thirds_of_an_11x11_kernel_falls_on_padding(extent: int, percent: int) -> None:
    convolution = nn.Conv2d(8, 8, 11, padding=5, groups=8, device="meta")
    cost = measure_cost(convolution, (meta(1, 8, extent, extent),))
    assert round(100 * cost.padding_macs_share) == percent


def test_depthwise_backward_costs_twice_its_forward() -> None:
    depthwise = nn.Conv2d(64, 64, 7, padding=3, groups=64, device="meta")
    cost = measure_cost(depthwise, (meta(1, 64, 56, 56),), training=True)
    assert cost.forward_macs == 64 * 49 * 56 * 56
    assert cost.backward_macs == 2 * cost.forward_macs


@pytest.mark.parametrize(
    ("layer", "size", "macs"),
    [
        (nn.Conv2d(4, 8, 4, padding="same"), (1, 4, 8, 8), 4 * 8 * 16 * 64),
        (nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), (1, 4, 8, 8), 4 * 8 * 9 * 64),
        (nn.Conv2d(4, 8, 3, padding=1), (4, 8, 8), 4 * 8 * 9 * 64),
        (nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 5), 2 * 4 * 8 * 9 * 25),
    ],
    ids=["even kernel, same size", "reflecting", "one sample without a batch", "output padding"],
)
def test_other_ways_to_pad_and_shape(layer: nn.Module, size: tuple[int, ...], macs: int) -> None:
    assert measure_cost(layer, (meta(*size),)).macs == macs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dtype_scales_the_bytes_and_nothing_else(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    layer = nn.Conv2d(4, 8, 3, padding=1).to(dtype=dtype, memory_format=memory_format)
    x = meta(2, 4, 8, 8, dtype=dtype).to(memory_format=memory_format)
    cost = measure_cost(layer, (x,), training=True)
    assert cost.macs == 3 * 2 * 4 * 8 * 9 * 64
    x_elements, y_elements, weights = 2 * 4 * 64, 2 * 8 * 64, 8 * 4 * 9
    forward = x_elements + weights + 8 + y_elements
    backward = y_elements + x_elements + weights + (x_elements + weights + 8)
    assert cost.bytes_moved == (forward + backward) * dtype.itemsize
    assert cost.method == "meta"


def test_functional_convolutions_and_computed_weights_count() -> None:
    def refocused(self: Forward, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, (self.mix @ self.weight.flatten(1)).view(8, 4, 3, 3), padding=1)

    module = Forward(refocused, mix=nn.Parameter(torch.ones(8, 4)), weight=nn.Parameter(torch.ones(4, 4, 3, 3)))
    cost = measure_cost(module, (meta(2, 4, 8, 8),))
    assert cost.macs == 2 * 4 * 8 * 9 * 64 + 8 * 4 * 36
    assert cost.batch_independent_macs == 8 * 4 * 36
    assert cost.macs_per_sample == 4 * 8 * 9 * 64
