"""Other counters on the same case: equal, or every difference with its reason; the roofline."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convbench.errors import UsageError
from convbench.measures.cost import Reconciliation, ToolCheck, cross_check, measure_cost, roofline
from convbench.measures.cost.crosscheck import UNEXPLAINED
from tests.cost.costing import Forward


def checked(module: nn.Module, *args: Tensor, training: bool = False) -> tuple[ToolCheck, ToolCheck]:
    """Both checks, after seeing that each one's items add up to its difference."""
    result: Reconciliation = cross_check(module, args, measure_cost(module, args, training=training))
    for check in result.checks:
        if check.total is not None:
            assert check.total - check.convbench == sum(item.other - item.convbench for item in check.differences)
    assert [check.tool for check in result.checks] == ["torch FlopCounterMode", "fvcore FlopCountAnalysis"]
    return result.checks[0], result.checks[1]


def test_a_plain_network_agrees_but_for_norms_and_pooling() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    ).eval()
    by_torch, by_fvcore = checked(network, torch.rand(2, 3, 8, 8))
    assert by_torch.agrees
    assert by_torch.differences == ()
    assert by_fvcore.agrees
    assert {item.operator: item.other for item in by_fvcore.differences} == {
        "batch_norm": 2 * 2 * 8 * 36,
        "adaptive_avg_pool2d": 2 * 8 * 36,
    }
    assert all("flops, not in macs" in item.reason for item in by_fvcore.differences)


def test_a_grouped_convolution_in_training() -> None:
    by_torch, _ = checked(nn.Conv2d(64, 64, 7, padding=3, groups=64), torch.rand(1, 64, 14, 14), training=True)
    assert by_torch.agrees
    for item in by_torch.differences:
        assert item.operator == "aten::convolution_backward"
        assert (item.other, item.convbench) == (65 * by_torch.convbench // 3, 2 * by_torch.convbench // 3)
        assert "number of groups" in item.reason


def test_operators_that_the_others_do_not_know() -> None:
    by_torch, by_fvcore = checked(Forward(lambda m, x: torch.mv(m.weight, x), weight=torch.rand(5, 8)), torch.rand(8))
    assert by_torch.agrees
    assert by_fvcore.agrees
    assert by_torch.total == by_fvcore.total == 0
    assert "counts nothing" in by_torch.differences[0].reason
    assert "aten::mv (1 calls)" in by_fvcore.differences[0].reason


def test_recurrent_layers_and_attention() -> None:
    by_torch, by_fvcore = checked(nn.LSTM(8, 16), torch.rand(5, 2, 8))
    assert by_torch.agrees
    assert "aten::lstm" in by_fvcore.differences[0].reason
    attention = Forward(lambda _, q: F.scaled_dot_product_attention(q, q, q))
    by_torch, by_fvcore = checked(attention, torch.rand(2, 4, 10, 8))
    assert by_torch.agrees  # some versions of torch have no formula for the CPU's kernel
    assert all("has no formula" in difference.reason for difference in by_torch.differences)
    assert "scaled_dot_product_attention" in by_fvcore.differences[0].reason


class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[None, None]:
        return None, None


def test_autograd_functions_that_a_tracer_does_not_enter() -> None:
    module = Forward(lambda m, x: OneWay.apply(x, m.weight), weight=torch.rand(8, 4, 3, 3))
    by_torch, by_fvcore = checked(module, torch.rand(1, 4, 8, 8))
    assert by_torch.differences == ()
    assert by_fvcore.agrees
    assert by_fvcore.total == 0
    assert "autograd functions: prim::PythonOp.OneWay" in by_fvcore.differences[0].reason


def test_modules_that_take_another_path_on_the_cpu() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        return self.wide(x) if x.is_meta else self.narrow(x)

    module = Forward(forward, wide=nn.Linear(8, 8), narrow=nn.Linear(8, 4))
    _, by_fvcore = checked(module, torch.rand(6, 8))
    assert by_fvcore.agrees
    assert "another path" in by_fvcore.differences[0].reason


def test_complex_products() -> None:
    module = Forward(lambda m, x: x @ m.weight, weight=torch.rand(8, 3, dtype=torch.complex64))
    by_torch, _ = checked(module, torch.rand(6, 8, dtype=torch.complex64))
    assert by_torch.agrees
    assert by_torch.total == 6 * 8 * 3
    assert "four real ones" in by_torch.differences[0].reason


def test_a_wrong_figure_is_not_explained_away() -> None:
    layer, x = nn.Conv2d(3, 8, 3), torch.rand(1, 3, 8, 8)
    other = measure_cost(nn.Conv2d(3, 9, 3), (x,))
    result = cross_check(layer, (x,), other)
    assert not result.agrees
    assert [item.reason for item in result.checks[0].differences] == [UNEXPLAINED]


def test_a_tool_that_fails_is_reported_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Forward(lambda m, x, *, scale: m.layer(x) * scale, layer=nn.Linear(8, 3))
    x, options = torch.rand(6, 8), {"scale": torch.rand(1)}
    result = cross_check(module, (x,), measure_cost(module, (x,), options), options)
    assert result.checks[0].agrees
    assert result.checks[1].total is None
    assert result.checks[1].error == "UsageError: fvcore takes positional arguments only"
    assert result.agrees
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    layer = nn.Linear(8, 3)
    missing = cross_check(layer, (x,), measure_cost(layer, (x,))).checks[1]
    assert missing.error is not None
    assert missing.error.startswith("ModuleNotFoundError")
    assert not missing.agrees


def test_meta_modules_are_traced_with_zeros() -> None:
    layer = nn.Conv2d(3, 8, 3, device="meta")
    for check in checked(layer, torch.empty(1, 3, 8, 8, device="meta")):
        assert check.agrees
        assert check.total == check.convbench == 27 * 8 * 36


def test_the_longer_of_two_times_bounds() -> None:
    compute = roofline(2_000_000_000, 10_000_000, peak_flops_per_s=1e11, bandwidth_bytes_per_s=1e10)
    assert (compute.bound, compute.attainable_ms, compute.compute_ms, compute.memory_ms) == ("compute", 20.0, 20.0, 1.0)
    assert (compute.arithmetic_intensity, compute.ridge_flops_per_byte) == (200.0, 10.0)
    memory = roofline(50_000_000, 10_000_000, 1e11, 1e10)
    assert (memory.bound, memory.attainable_ms, memory.attainable_flops_per_s) == ("memory", 1.0, 5e10)


@given(st.integers(0, 10**15), st.integers(1, 10**12), st.floats(1e6, 1e15), st.floats(1e6, 1e13))
def test_the_bound_is_the_side_of_the_ridge(flops: int, moved: int, peak: float, bandwidth: float) -> None:
    result = roofline(flops, moved, peak, bandwidth)
    assert result.attainable_ms == max(result.compute_ms, result.memory_ms)
    if result.arithmetic_intensity > 1.001 * result.ridge_flops_per_byte:
        assert result.bound == "compute"
    if result.arithmetic_intensity < 0.999 * result.ridge_flops_per_byte:
        assert result.bound == "memory"
    assert result.attainable_flops_per_s <= peak * 1.001


@pytest.mark.parametrize("wrong", [(-1, 1, 1e9, 1e9), (1, -1, 1e9, 1e9), (1, 1, 0.0, 1e9), (1, 1, 1e9, float("nan"))])
def test_peaks_are_positive_and_work_is_not_negative(wrong: tuple[int, int, float, float]) -> None:
    with pytest.raises(UsageError):
        roofline(*wrong)
