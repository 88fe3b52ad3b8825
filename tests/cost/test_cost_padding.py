"""The share of MACs on padding counts zeros wherever they were put, and nothing that is not a zero.

The reference: the same calls on ones, where what is left of them after padding is convolved with ones.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.measures.cost import measure_cost
from tests.cost.costing import Forward, assert_adds_up

X = torch.ones(2, 4, 8, 10)


def framed(x: Tensor) -> Tensor:
    frame = x.new_zeros(2, 4, 12, 13)
    frame[:, :, 1:9, 2:12] = x
    return frame


def filled(x: Tensor) -> Tensor:
    frame = torch.empty(2, 4, 10, 12, device=x.device).zero_()
    frame[..., 1:-1, 1:-1].copy_(x)
    return frame


def shifted(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :, :2]), x[:, :, :-2]], dim=2)


def stretched(x: Tensor) -> Tensor:
    sparse = x.new_zeros(2, 4, 15, 19)
    sparse[:, :, ::2, ::2] = x
    return sparse


PADDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "all sides": lambda x: F.pad(x, (1, 1, 1, 1)),
    "causal": lambda x: F.pad(x, (0, 0, 4, 0)),
    "asymmetric": lambda x: F.pad(x, (0, 3, 2, 1)),
    "cropped again": lambda x: F.pad(F.pad(x, (2, 2, 2, 2)), (-1, 0, 0, -2)),
    "twice": lambda x: F.pad(F.pad(x, (1, 0, 1, 0)), (0, 2, 1, 2)),
    "channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 3)),
    "then activated": lambda x: F.gelu(F.relu(F.pad(x, (2, 2, 2, 2)))),
    "then activated in place": lambda x: F.pad(x, (2, 2, 2, 2)).relu_().mul_(2),
    "then scaled": lambda x: F.pad(x, (2, 1, 2, 1)) * 3 / 2,
    "then joined": lambda x: torch.cat([F.pad(x, (2, 2, 2, 2)), F.pad(x, (2, 2, 2, 2))], 1),
    "then added": lambda x: F.pad(x, (2, 2, 2, 2)) + F.pad(x, (2, 2, 0, 4)),
    "then permuted": lambda x: F.pad(x, (2, 2, 1, 1)).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "then sliced": lambda x: F.pad(x, (3, 3, 3, 3))[:, 1:, 1:, ::2],
    "then split": lambda x: F.pad(x, (3, 3, 3, 3)).chunk(2, dim=1)[1],
    "then pooled": lambda x: F.max_pool2d(F.pad(x, (4, 4, 4, 4)), 2),
    "by a module": nn.ZeroPad2d((1, 2, 3, 0)),
    "by a constant of zero": nn.ConstantPad2d(2, 0.0),
    "zeros written into": framed,
    "zeroed and written into": filled,
    "shifted": shifted,
    "stretched": stretched,
    "dropped out": lambda x: F.dropout(F.pad(x, (2, 2, 2, 2)), 0.0, training=True),
}

CONVOLUTIONS: dict[str, Callable[[int], nn.Conv2d]] = {
    "3×3": lambda c: nn.Conv2d(c, 4, 3),
    "own padding": lambda c: nn.Conv2d(c, 4, 5, padding=2),
    "strided": lambda c: nn.Conv2d(c, 4, 3, stride=2, padding=1),
    "dilated": lambda c: nn.Conv2d(c, 4, 3, dilation=2, padding=1),
    "depthwise": lambda c: nn.Conv2d(c, c, 5, groups=c),
    "same, even": lambda c: nn.Conv2d(c, 4, 4, padding="same"),
}


def on_zeros(prepare: Callable[[Tensor], Tensor], conv: nn.Conv2d) -> int:
    """MACs with a zero among the elements: those of ones prepared the same way, all weights one."""
    x = (prepare(X) != 0).double()
    weight = torch.ones(conv.weight.shape, dtype=torch.double)
    met = F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return int(met.numel() * conv.weight[0].numel() - met.sum())


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_zeros_are_found(padding: str, convolution: str) -> None:
    prepare = PADDINGS[padding]
    conv = CONVOLUTIONS[convolution](prepare(X).shape[1])
    module = Forward(lambda m, x: m.conv(prepare(x)), conv=conv)
    cost = measure_cost(module, (X.to("meta"),))
    assert cost.padding_macs == on_zeros(prepare, conv)
    assert_adds_up(cost)


@pytest.mark.parametrize("padding", ["all sides", "zeros written into", "shifted", "then scaled"])
def test_training_counts_them_for_both_gradients_and_a_real_run_agrees(padding: str) -> None:
    prepare, conv = PADDINGS[padding], nn.Conv2d(4, 4, 3)

    def looking(m: Forward, x: Tensor) -> Tensor:
        x[0, 0, 0, 0].item()
        return m.conv(prepare(x))

    for forward in (lambda m, x: m.conv(prepare(x)), looking):
        cost = measure_cost(Forward(forward, conv=conv), (X,), training=True)
        assert cost.padding_macs == 3 * on_zeros(prepare, conv)


NO_ZEROS: dict[str, Callable[[Tensor], Tensor]] = {
    "reflected": lambda x: F.pad(x, (2, 2, 2, 2), mode="reflect"),
    "replicated": lambda x: F.pad(x, (2, 2, 2, 2), mode="replicate"),
    "circular": lambda x: F.pad(x, (2, 2, 2, 2), mode="circular"),
    "ones": lambda x: F.pad(x, (2, 2, 2, 2), value=1.0),
    "added to": lambda x: F.pad(x, (2, 2, 2, 2)) + 1,
    "normalised": lambda x: F.batch_norm(F.pad(x, (2, 2, 2, 2)), None, None, training=True),
    "exponentiated": lambda x: F.pad(x, (2, 2, 2, 2)).sigmoid(),
    "written over": lambda x: F.pad(x, (2, 2, 2, 2)).copy_(x.new_ones(2, 4, 12, 14)),
    "filled": lambda x: F.pad(x, (2, 2, 2, 2)).fill_(1.0),
    "empty": lambda x: x.new_empty(2, 4, 12, 14),
}


@pytest.mark.parametrize("name", NO_ZEROS)
def test_other_values_are_no_zeros(name: str) -> None:
    module = Forward(lambda m, x: m.conv(NO_ZEROS[name](x)), conv=nn.Conv2d(4, 4, 3))
    assert measure_cost(module, (X.to("meta"),)).padding_macs == 0


def test_zeros_outlast_a_convolution_without_bias_only() -> None:
    def share(bias: bool) -> int:
        network = nn.Sequential(nn.ZeroPad2d(4), nn.Conv2d(4, 4, 3, bias=bias), nn.ReLU(), nn.Conv2d(4, 4, 3))
        return measure_cost(network, (X.to("meta"),)).padding_macs

    first = on_zeros(lambda x: F.pad(x, (4, 4, 4, 4)), nn.Conv2d(4, 4, 3))
    grown = on_zeros(lambda x: F.pad(F.pad(x, (1, 1, 1, 1), value=1.0), (2, 2, 2, 2)), nn.Conv2d(4, 4, 3))
    assert share(True) == first
    assert share(False) == first + grown


def test_one_and_three_dimensions() -> None:
    causal = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(4, 4, 3))
    assert measure_cost(causal, (torch.empty(1, 4, 9, device="meta"),)).padding_macs == 4 * 4 * (2 + 1)
    volume = nn.Sequential(nn.ConstantPad3d(1, 0.0), nn.Conv3d(2, 2, 3))
    cost = measure_cost(volume, (torch.empty(1, 2, 4, 4, 4, device="meta"),))
    assert cost.padding_macs == 2 * 2 * (12**3 - 10**3)


def test_transposed_convolutions_scatter_the_zeros_of_their_input() -> None:
    module = nn.Sequential(nn.ZeroPad2d(1), nn.ConvTranspose2d(4, 4, 3))
    cost = measure_cost(module, (X.to("meta"),))
    assert cost.padding_macs == 2 * 4 * 4 * 9 * (10 * 12 - 8 * 10)
