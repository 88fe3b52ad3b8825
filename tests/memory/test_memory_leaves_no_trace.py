"""The subject stays as it was, whatever happens; and nothing heavy is imported."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convbench.case import Case
from convbench.measures.memory import measure_memory
from convbench.target.blueprint import Subject


class Restless(nn.Module):
    """Changes all that a forward can change, and may fail at its end."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("calls", torch.zeros(1))
        self.seen: list[Tensor] = []
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        random.random()
        np.random.random()
        self.calls += 1
        self.seen.append(x)
        self.last = x.relu_()
        x = torch.dropout(self.norm(self.conv(self.last)), 0.5, True)
        self.conv.weight.data.mul_(2)
        if self.fails:
            raise KeyError("no such thing")
        return x


def subject(module: nn.Module, mode: str = "training", *args: Tensor, input_grad: bool = False, **case: Any) -> Subject:
    inputs = args or (torch.randn(1, 4, 6, 6),)
    shapes = tuple(tuple(tensor.shape) for tensor in inputs)
    conditions = Case("nothing", shapes=shapes, mode=mode, input_grad=input_grad, **case)  # type: ignore[arg-type]
    return Subject(conditions, "Restless", "block", {}, module, inputs)


def state_of(subject: Subject) -> tuple[Any, ...]:
    module = subject.module
    return (
        {name: value.clone() for name, value in module.state_dict().items()},
        [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        [(part.training, sorted(vars(part)), len(part._forward_hooks)) for part in module.modules()],
        [tensor.clone() for tensor in subject.args],
        [(tensor.requires_grad, tensor.grad) for tensor in subject.args],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1],
        (gc.isenabled(), torch.is_grad_enabled(), torch._C._len_torch_dispatch_stack()),
    )


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor | np.ndarray):
        return bool((first == second).all())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_subject_and_every_random_state_stay_as_they_were(mode: str, fails: bool) -> None:
    measured = subject(Restless(fails).train(mode == "training"), mode)
    for parameter in measured.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = state_of(measured)
    if fails:
        with pytest.raises(KeyError, match="no such thing"):
            measure_memory(measured, high_water=False)
    else:
        assert measure_memory(measured, high_water=False).peak_bytes > 0
    assert same(state_of(measured), before)


def test_what_cannot_be_copied_is_shared() -> None:
    module = nn.Sequential(Restless())
    module[0].handles = {"lock": Lock(), "file": sys.stdout}
    expected = measure_memory(subject(nn.Sequential(Restless())), high_water=False)
    assert measure_memory(subject(module), high_water=False) == expected


def test_a_module_that_refuses_to_be_copied_is_measured_like_any_other() -> None:
    class Single(nn.Conv2d):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("there can be only one")

    expected = measure_memory(subject(nn.Conv2d(4, 4, 1)), high_water=False)
    assert measure_memory(subject(Single(4, 4, 1)), high_water=False) == expected


def test_weight_norm_in_its_old_form_can_be_copied() -> None:
    with pytest.warns(FutureWarning):
        module = torch.nn.utils.weight_norm(nn.Conv2d(4, 4, 1, bias=False))
    memory = measure_memory(subject(module), high_water=False)
    assert memory.weights_bytes == 4 * (16 + 4 + 16)  # v, g and the weight that they make


def test_nothing_of_the_module_is_kept_alive() -> None:
    memory = measure_memory(subject(nn.Conv2d(4, 4, 1)), high_water=False)
    gc.collect()
    assert memory.timeline[-1].live_bytes == memory.weights_bytes + memory.input_bytes + memory.gradients_bytes


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_dynamo_is_not_imported(mode: str) -> None:
    code = f"""
import sys, torch
from torch import nn
from convbench.case import Case
from convbench.measures.memory import measure_memory
from convbench.target.blueprint import Subject
module = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.1), nn.Conv2d(4, 4, 1))
case = Case("nothing", shapes=((1, 4, 6, 6),), mode={mode!r})
memory = measure_memory(Subject(case, "x", "block", {{}}, module, (torch.randn(1, 4, 6, 6),)), high_water=False)
assert memory.method == "storages" and memory.peak_bytes > 0
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
