"""MRFA: its checkpoints under either naming, and the order of its concatenations."""

from __future__ import annotations

import pytest
import torch

from convblocks import MRFA
from convblocks.uniconvnet import UniConvNetBlock
from tests.blocks.golden_data import fill

OTHER_NAMES = {
    "norm1.weight": "ln_stage1.gamma",
    "norm1.bias": "ln_stage1.beta",
    "norm3.weight": "ln_stage3.gamma",
    "a1.0.weight": "ctx_branch_s1.0.weight",
    "a3.2.bias": "ctx_branch_s3.2.bias",
    "v1.weight": "gate_branch_s1.weight",
    "v2.bias": "gate_branch_s2.bias",
    "v11.weight": "post_gate_s1.weight",
    "v31.bias": "post_gate_s3.bias",
    "v12.weight": "prep_quarter2.weight",
    "v22.bias": "prep_quarter3.bias",
    "v32.weight": "prep_quarter4.weight",
    "conv3_1.weight": "refine3x3_s1.weight",
    "conv3_3.bias": "refine3x3_s3.bias",
    "proj2.weight": "proj_ctx_to_q3.weight",
    "proj3.bias": "proj_ctx_to_q4.bias",
}


@pytest.mark.parametrize("prefix", ["", "attn."])
def test_checkpoint_of_the_rewrite_loads_strictly(prefix: str) -> None:
    source = fill(MRFA(8) if not prefix else UniConvNetBlock(8))
    state = {}
    for key, value in source.state_dict().items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else ""
        state[prefix + OTHER_NAMES[name] if name in OTHER_NAMES else key] = value
    renamed = [key for key in state if key not in source.state_dict()]
    assert len(renamed) == len(OTHER_NAMES)
    target = MRFA(8) if not prefix else UniConvNetBlock(8)
    target.load_state_dict(state, strict=True)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_loading_leaves_the_checkpoint_as_it_was() -> None:
    state = {OTHER_NAMES.get(key, key): value for key, value in MRFA(8).state_dict().items()}
    keys = list(state)
    MRFA(8).load_state_dict(state)
    assert list(state) == keys


def test_unknown_keys_are_still_reported() -> None:
    with pytest.raises(RuntimeError, match=r"ln_stage4\.gamma"):
        MRFA(8).load_state_dict(MRFA(8).state_dict() | {"ln_stage4.gamma": torch.zeros(8)})


def test_each_layer_sees_its_kernel_and_its_quarter() -> None:
    block = fill(MRFA(16)).eval()
    x = torch.zeros(1, 16, 41, 41, requires_grad=True)
    reach = {}
    for channel in (3, 7, 11, 15):
        torch.manual_seed(0)
        y = block(torch.randn_like(x) + x)
        (gradient,) = torch.autograd.grad(y[0, channel, 20, 20], x)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        reach[channel] = int(rows.max()) - 20
    # d of layer 3 (first quarter) and its m see 11×11 after 9×9 after 7×7.
    assert reach == {3: 12, 7: 12, 11: 12, 15: 12}
