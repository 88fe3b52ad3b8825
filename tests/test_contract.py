"""What holds for every registered target, whoever registered it."""

from __future__ import annotations

import copy

import pytest
import torch

from convbench.case import Case
from convbench.measures.cost import measure_cost
from convbench.measures.params import measure_params
from convbench.registry import Entry, entries
from convbench.target.blueprint import blueprint, make_subject

BLOCKS = [entry for entry in entries().values() if entry.kind == "block"]
NETWORKS = [entry for entry in entries().values() if entry.kind == "network"]


def _name(entry: Entry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", entries().values(), ids=_name)
def test_it_says_what_it_is(entry: Entry) -> None:
    assert entry.summary
    assert entry.year
    assert entry.origin.startswith("convbench")


@pytest.mark.parametrize("entry", BLOCKS, ids=_name)
def test_a_block_maps_dim_channels_to_a_feature_map_and_has_gradients_in_both_modes(entry: Entry) -> None:
    for mode in ("inference", "training"):
        subject = make_subject(Case(entry.name, dim=64, size=16, batch=2, mode=mode))  # type: ignore[arg-type]
        x = subject.args[0].requires_grad_()
        y = subject.module(x)
        assert y.dim() == 4
        assert y.shape[0] == 2
        y.square().sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        trained = [p for p in subject.module.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)


@pytest.mark.parametrize("entry", BLOCKS, ids=_name)
def test_meta_and_real_agree_on_params_and_cost_and_counting_changes_nothing(entry: Entry) -> None:
    case = Case(entry.name, dim=64, size=14)
    real, meta = make_subject(case), make_subject(case, device="meta")
    before, rng = copy.deepcopy(real.module.state_dict()), torch.random.get_rng_state()
    assert measure_params(real.module) == measure_params(meta.module)
    counted = [measure_cost(s.module, s.args) for s in (real, meta)]
    assert (counted[0].macs, counted[0].flops) == (counted[1].macs, counted[1].flops)
    assert (counted[0].macs > 0) == (entry.name != "SimAM")  # which has no weights: statistics and a gate
    assert not counted[0].uncounted
    assert torch.equal(torch.random.get_rng_state(), rng)
    torch.testing.assert_close(real.module.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("entry", NETWORKS, ids=_name)
def test_a_network_builds_on_meta_and_classifies(entry: Entry) -> None:
    plan = blueprint(Case(entry.name, options=(("num_classes", 7), ("in_chans", 4)), size=33, device="meta"))
    module = plan.module()
    assert all(parameter.device.type == "meta" for parameter in module.parameters())
    output = module(*plan.args())
    assert output.shape[:2] == (1, 7)
