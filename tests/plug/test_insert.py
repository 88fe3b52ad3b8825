"""Blocks after the stages of a host."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import UnknownNameError, UsageError
from convbench.measures.cost import measure_cost
from convbench.plugging import Plugged, insert_after, load_block
from convbench.plugging.job import plug_into
from convbench.target.blueprint import blueprint

HOSTS = Path(__file__).parent / "hosts.py"
IMAGE = (torch.zeros(1, 3, 8, 8, device="meta"),)


def staged(device: str = "meta") -> nn.Module:
    return blueprint(Case(f"{HOSTS}:Staged", device=device)).module()


def inserted(block: str, *stages: str) -> Plugged:
    return insert_after(staged(), (IMAGE, {}), load_block(block, {}), stages)


@pytest.mark.parametrize("stage", ["layer1", "layer2", "layers.1", "layer2.conv"])
def test_the_sums_are_exact(stage: str) -> None:
    result = inserted("MRFA", stage)
    (change,) = result.changes
    quarter = 2
    assert (change.params_before, change.params_after) == (0, 50 * quarter**2 + 651 * quarter)
    assert (change.macs_before, change.macs_after) == (0, 64 * (50 * quarter**2 + 601 * quarter))
    assert measure_cost(result.module, IMAGE).macs - measure_cost(staged(), IMAGE).macs == change.macs_after


def test_a_sequential_keeps_its_keys() -> None:
    before = set(staged().state_dict())
    result = inserted("MRFA", "layer1")
    assert before < set(result.module.state_dict())
    assert "layer1.plugged.norm1.weight" in result.module.state_dict()


def test_the_block_runs_on_what_the_stage_gives() -> None:
    host, x = staged("cpu"), torch.randn(2, 3, 8, 8)
    expected = host.layer2(host.layer1(x))
    seen = []
    result = insert_after(host, ((x,), {}), load_block(f"{HOSTS}:Shift", {}), ["layer2", "layer1"])
    with torch.no_grad():
        result.module.layer1.plugged.shift.fill_(0)
        result.module.layer2.plugged.shift.fill_(3)
    result.module.layer2.register_forward_hook(lambda *call: seen.append(call[2]))
    result.module(x)
    assert torch.allclose(seen[0], expected + 3)


def test_several_stages_and_doubles() -> None:
    result = inserted("MRFA", "layer1", "layers.0", "layer1")
    assert [change.layer for change in result.changes] == ["layer1", "layers.0"]
    assert [change.becomes for change in result.changes] == ["the same, then MRFA"] * 2


@pytest.mark.parametrize("block", ["MRFA", "Conv2Former", "UniConvNetBlock", "PyConv", "DRConv", "ConvNeXt"])
def test_every_shape_preserving_block_goes_in(block: str) -> None:
    result = plug_into(Case("torchvision:resnet18", device="meta", size=64), load_block(block, {}), "", ("layer1",))
    assert result.module(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("layers", "layers is a list of stages; name one of them: layers.0, layers.1"),
        ("idle", "the host's forward pass does not call idle"),
        ("head", "head gives 1×10: a block goes in after a feature map"),
    ],
)
def test_stages_after_which_nothing_can_go_in(stage: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        inserted("MRFA", stage)


def test_an_unknown_stage_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'layer1'.*At its top are: layer1, layer2, layers"):
        inserted("MRFA", "layr1")


def test_a_block_that_changes_the_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="Halving cannot go in after layer1: Halving gives 1×8×4×4 where the host has"):
        inserted(f"{HOSTS}:Halving", "layer1")
    with pytest.raises(UsageError, match=r"UniConvNetBlock cannot go in after layer1: .*multiple of 16"):
        insert_after(staged(), (IMAGE, {}), load_block("UniConvNetBlock", {"dcn_group_channels": 16}), ["layer1"])
