"""The operators of one call, by what computes and not by what wraps it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convbench.measures.latency.timing.kernels import kernels_of


def operators(module: nn.Module, x: torch.Tensor) -> dict[str, int]:
    found = kernels_of(lambda: module(x), torch.inference_mode, "cpu")
    return {name: int(count) for name, count in (entry.split("×") for entry in found)}


def test_operators_are_counted_at_the_leaves() -> None:
    module = nn.Sequential(nn.GELU(), nn.GELU(), nn.LayerNorm(6))
    assert operators(module, torch.randn(1, 8, 6, 6)) == {"aten::gelu": 2, "aten::native_layer_norm": 1}


def test_views_and_allocations_are_no_kernels() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (8, 36)), nn.ReLU())
    assert operators(module, torch.randn(1, 8, 6, 6)) == {"aten::clamp_min": 1}


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_convolution_is_named_by_its_library(kernel_size: int) -> None:
    found = operators(nn.Conv2d(8, 8, kernel_size), torch.randn(1, 8, 16, 16))
    # oneDNN, or im2col with a matrix product: which of them depends on the shape, the threads and the version.
    assert (
        len(
            found.keys()
            & {"aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "aten::_nnpack_spatial_convolution"}
        )
        == 1
    )
    assert not found.keys() & {"aten::conv2d", "aten::convolution", "aten::_convolution", "aten::thnn_conv2d"}


def test_the_most_frequent_comes_first() -> None:
    module = nn.Sequential(nn.LayerNorm(6), nn.GELU(), nn.GELU())
    assert list(operators(module, torch.randn(1, 8, 6, 6))) == ["aten::gelu", "aten::native_layer_norm"]
