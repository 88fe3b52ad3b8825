"""Counting leaves no trace: on the module, its gradients, the random state, the process; also after an exception."""

from __future__ import annotations

import gc
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convbench.errors import ShapeError
from convbench.measures.cost import cross_check, measure_cost
from tests.cost.costing import Forward


class Busy(nn.Module):
    """A module that does everything a forward pass should not, on the way to its result."""

    def __init__(self, *, looks_at_values: bool) -> None:
        super().__init__()
        self.looks_at_values = looks_at_values
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
        self.frozen = nn.BatchNorm2d(4).eval()
        self.frozen.requires_grad_(False)
        self.wrapped = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.unregistered = torch.arange(4.0)
        self.history: list[object] = []
        self.last: Tensor | None = None
        self.calls = 0
        self.stem[0].register_forward_hook(lambda module, args, output: None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        self.unregistered.add_(1)
        x = x.mul_(2)
        self.last = y = self.frozen(self.stem(x)).mean((2, 3)) * random.random()
        self.history.append(y)
        self.extra = np.random.rand()
        warnings.simplefilter("ignore")
        y = y + torch.randn_like(y) + self.unregistered
        if self.looks_at_values and y.sum().item() > 1e9:
            return y
        if x.shape[-1] == 7:
            raise ValueError("seven is not a size")
        self.train(False)
        return self.wrapped(y)


def snapshot(module: nn.Module) -> list[tuple[str, Any]]:
    """Everything about a module, values copied, identities kept."""
    taken: list[tuple[str, Any]] = []
    for path, child in module.named_modules():
        for name, value in sorted(child.__dict__.items()):
            if name in ("_parameters", "_buffers"):
                for key, tensor in value.items():
                    if tensor is not None:
                        grad = None if tensor.grad is None else tensor.grad.tolist()
                        state = (id(tensor), tensor.requires_grad, tensor._version, tensor.tolist(), grad)
                        taken.append((f"{path}.{key}", state))
            elif name == "_modules":
                taken.append((f"{path} children", {key: id(grandchild) for key, grandchild in value.items()}))
            elif isinstance(value, Tensor):
                taken.append((f"{path}.{name}", (id(value), value._version, value.tolist())))
            else:
                taken.append((f"{path}.{name}", (id(value), repr(value))))
    return taken


def process_state() -> tuple[object, ...]:
    hooks = torch.nn.modules.module
    return (
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), list(warnings.filters),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        dict(hooks._global_forward_hooks), dict(hooks._global_forward_pre_hooks),
        dict(hooks._global_forward_hooks_always_called), torch._C._len_torch_dispatch_stack(), gc.isenabled(),
    )  # fmt: skip


@pytest.mark.parametrize("size", [8, 7], ids=["accepted", "rejected"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("looks_at_values", [False, True])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_nothing_is_left_behind(size: int, training: bool, looks_at_values: bool, autocast: torch.dtype | None) -> None:
    module = Busy(looks_at_values=looks_at_values).train()
    module.frozen.eval()
    module.stem[0].weight.grad = torch.full_like(module.stem[0].weight, 0.5)
    x = torch.rand(2, 3, size, size)
    before, values, process = snapshot(module), x.tolist(), process_state()
    if size == 7:
        with pytest.raises(ShapeError, match="seven is not a size"):
            measure_cost(module, (x,), training=training, autocast=autocast)
    else:
        cost = measure_cost(module, (x,), training=training, autocast=autocast)
        assert cost.method == ("real" if looks_at_values else "fake" if autocast else "meta")
        assert cost.macs > 2 * 27 * 4 * 36
    assert snapshot(module) == before
    assert (x.tolist(), x.requires_grad, x.grad) == (values, False, None)
    assert process_state() == process


def test_cross_checking_leaves_nothing_behind_either() -> None:
    pytest.importorskip("fvcore")
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    x = torch.rand(2, 3, 8, 8)
    cost = measure_cost(module, (x,), training=True)
    cross_check(module, (x,), cost)
    before, process = snapshot(module), process_state()
    result = cross_check(module, (x,), cost)
    assert all(check.total is not None for check in result.checks)
    assert snapshot(module) == before
    assert process_state() == process


def test_modules_that_share_and_refer_keep_their_structure() -> None:
    """Tied weights stay tied, lists of one's own parameters follow, bound methods belong to the copy."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.second.weight = self.first.weight
            self.parts = [self.first.weight]
            self.run = self._run

        def _run(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) @ self.parts[0]

        def forward(self, x: Tensor) -> Tensor:
            return self.run(x)

    cost = measure_cost(Tied(), (torch.zeros(6, 8),), training=True)
    assert (cost.method, cost.macs) == ("meta", 9 * 6 * 64)
    assert cost.ideal_bytes < 4 * (2 * (48 + 48 + 2 * 64))


def test_modules_on_meta_and_fake_tensors_count_without_values() -> None:
    layer = nn.Conv2d(3, 4, 3)
    expected = measure_cost(layer, (torch.rand(1, 3, 8, 8),))
    assert measure_cost(nn.Conv2d(3, 4, 3, device="meta"), (torch.empty(1, 3, 8, 8, device="meta"),)) == expected
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake, x = nn.Conv2d(3, 4, 3), torch.empty(1, 3, 8, 8)
        inside = measure_cost(fake, (x,))
    assert inside == measure_cost(fake, (x,)) == expected


def test_a_hook_that_changes_the_weights_runs_on_the_copy() -> None:
    with pytest.warns(FutureWarning):
        module = nn.utils.weight_norm(nn.Linear(8, 8))
    weight = module.weight
    assert measure_cost(module, (torch.zeros(6, 8),)).macs == 384
    assert module.weight is weight
    assert type(Forward(lambda _, x: x)).__call__ is nn.Module.__call__


class Captured(nn.Module):
    """A module whose functions have captured it, its parts and their containers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8)
        self.seen: list[int] = []
        self.steps = [lambda x: self.layer(x), self._norm]
        self.layer.register_forward_hook(lambda module, args, output: self.seen.append(len(self.seen)))

    def _norm(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


@pytest.mark.parametrize("needs_values", [False, True])
def test_functions_that_captured_the_module_run_its_double(needs_values: bool) -> None:
    module = Captured()
    outer = Forward(lambda m, x: (m.inner(x), x.sum().item() if needs_values else 0), inner=module)
    before = snapshot(module)
    cost = measure_cost(outer, (torch.rand(6, 8),), training=True)
    assert (cost.method, cost.macs) == ("real" if needs_values else "meta", 3 * 6 * 64)
    assert {place.path: place.own.macs for place in cost.modules}["inner.layer"] == 3 * 6 * 64
    assert snapshot(module) == before
    assert module.seen == []


GLOBAL = nn.BatchNorm1d(8).train()


def test_buffers_reached_past_the_double_are_not_written() -> None:
    """A module that finds its own parts through a global: the double runs the original, on meta tensors."""

    def forward(self: Forward, x: Tensor) -> Tensor:
        return GLOBAL(x)

    before = {name: value.clone() for name, value in GLOBAL.state_dict().items()}
    cost = measure_cost(Forward(forward, norm=GLOBAL), (torch.rand(6, 8),))
    assert (cost.method, cost.flops > 0) == ("meta", True)
    for name, value in GLOBAL.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_part_counts_as_what_it_was_made_from() -> None:
    network = nn.Sequential(torch.compile(nn.Linear(8, 8)), nn.Linear(8, 3))
    network[1].compile()
    assert measure_cost(network, (torch.rand(6, 8),), training=True).macs == 3 * 6 * (64 + 24)
