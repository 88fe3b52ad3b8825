"""Attention costs what the kernel that the device would run costs, whatever tensors it is counted on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from convbench.measures.cost import Cost, measure_cost
from tests.cost.costing import Forward

attend = F.scaled_dot_product_attention
B, H, S, D = 2, 8, 24, 16
SCORES, ROWS = B * H * S * S, B * H * S * D * 4


def unfused(q: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return attend(q, q, q)


@torch.jit.script
def scripted(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q)


FUSED, PRODUCTS = "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::bmm"
_FEW = torch.zeros(1, 2, 4, 8)
GROUPED = FUSED if torch._fused_sdp_choice(torch.zeros(1, 4, 4, 8), _FEW, _FEW, enable_gqa=True) else PRODUCTS
"""The kernel of the CPU takes groups from torch 2.7 on."""
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "plain": (lambda q: attend(q, q, q), FUSED),
    "causal": (lambda q: attend(q, q, q, is_causal=True), FUSED),
    "masked by conditions": (lambda q: attend(q, q, q, q.new_ones(S, S, dtype=torch.bool)), FUSED),
    "masked by numbers": (lambda q: attend(q, q, q, q.new_zeros(B, 1, S, S)), FUSED),
    "grouped queries": (lambda q: attend(q, q[:, :2], q[:, :2], enable_gqa=True), GROUPED),
    "tokens before heads": (lambda q: attend(*(3 * [q.transpose(1, 2).contiguous().transpose(1, 2)])), FUSED),
    "scripted": (scripted, FUSED),
    "dropout": (lambda q: attend(q, q, q, dropout_p=0.1), PRODUCTS),
    "narrower values": (lambda q: attend(q, q, F.pad(q, (0, 8))), PRODUCTS),
    "asked for": (unfused, PRODUCTS),
}


def counted(function: Callable[[Tensor], Tensor], q: Tensor, *, training: bool) -> Cost:
    cost = measure_cost(Forward(lambda _, q: function(q)), (q,), training=training)
    assert cost.uncounted == ()
    return cost


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_the_kernel_of_the_cpu_is_counted_on_meta_as_in_a_real_run(name: str, dtype: torch.dtype) -> None:
    function, operator = CALLS[name]

    def looking(q: Tensor) -> Tensor:
        q[0, 0, 0, 0].item()
        return function(q)

    q = torch.randn(B, H, S, D, dtype=dtype)
    for training in (False, True):
        on_meta = counted(function, q.to("meta"), training=training)
        really = counted(looking, q, training=training)
        assert (on_meta.method, really.method) == ("meta", "real")
        assert (on_meta.macs, on_meta.flops) == (really.macs, really.flops)
        assert operator in [row.name for row in on_meta.operators]
        rows = [
            {(row.name, row.calls, row.bytes_moved) for row in cost.operators if row.bytes_moved and row.macs}
            for cost in (on_meta, really)
        ]
        assert rows[0] == rows[1]
        products = 7 if training and operator == FUSED else 6 if training else 2
        assert name == "narrower values" or on_meta.macs == products * SCORES * D


def test_the_fused_kernel_moves_no_scores() -> None:
    q = torch.empty(B, H, S, D, device="meta")
    sizes = 4 * ROWS + B * H * S * 4
    assert counted(lambda q: attend(q, q.clone(), q.clone()), q, training=False).bytes_moved == sizes + 4 * ROWS
    assert counted(unfused, q, training=False).bytes_moved > 2 * SCORES * 4


def test_autocast_changes_the_dtype_and_not_the_count() -> None:
    cost = measure_cost(Forward(lambda _, q: attend(q, q, q)), (torch.randn(B, H, S, D),), autocast=torch.bfloat16)
    assert (cost.macs, cost.operators[0].name) == (2 * SCORES * D, FUSED)


def test_layers_made_of_it() -> None:
    tokens = torch.empty(2, S, 32, device="meta")
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    macs = 2 * S * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * S * S * 32
    assert measure_cost(layer.eval(), (tokens,)).macs == macs


def test_the_kernel_is_taken_away_again_and_needs_no_dynamo() -> None:
    program = """
import sys, torch
from torch.nn import functional as F
from convbench.measures.cost import measure_cost
class A(torch.nn.Module):
    def forward(self, q):
        return F.scaled_dot_product_attention(q, q, q)
q = torch.empty(2, 8, 24, 16, device="meta")
assert measure_cost(A(), (q,)).operators[0].name.endswith("for_cpu")
assert "torch._dynamo" not in sys.modules
assert not torch._C._dispatch_has_kernel_for_dispatch_key("aten::scaled_dot_product_attention", "AutogradMeta")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)
