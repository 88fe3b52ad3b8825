"""Who holds the memory: modules and operators, in forward, in backward and in a checkpoint's second forward."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convbench.execution.step import Step
from convbench.measures.memory.ledger import by_module
from convbench.measures.memory.lifetimes import called_by_autograd
from convbench.measures.memory.result import ModuleShare
from convbench.measures.memory.trace import Trace, trace


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.right = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) * self.right(x).exp()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def, override]
        (x,) = ctx.saved_tensors
        return gradient * 3 * x * x


class Cubes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def training(module: nn.Module) -> Trace:
    return trace(Step(module, (torch.randn(1, 4, 4, 4).requires_grad_(),), {}, "training"))


def allocations(found: Trace, phase: str) -> list[tuple[str, str]]:
    return [
        (event.module, event.operator)
        for event in found.timeline
        if event.change_bytes > 0 and event.phase == phase and event.operator not in ("aten.sum", "aten.ones_like")
    ]


def test_forward_names_the_innermost_module() -> None:
    assert allocations(training(Branches()), "forward") == [
        ("left.0", "aten.convolution"),
        ("left.1", "aten.sigmoid"),
        ("right", "aten.convolution"),
        ("", "aten.exp"),
        ("", "aten.mul.Tensor"),
    ]


def test_backward_names_the_module_whose_forward_it_differentiates() -> None:
    found = dict.fromkeys(allocations(training(Branches()), "backward"))
    assert list(found) == [
        ("", "aten.mul.Tensor"),
        ("right", "aten.convolution_backward"),
        ("left.1", "aten.sigmoid_backward"),
        ("left.0", "aten.convolution_backward"),
    ]


def test_an_autograd_function_belongs_to_the_module_that_applies_it() -> None:
    found = training(nn.Sequential(nn.Sigmoid(), Cubes()))
    assert {module for module, _ in allocations(found, "backward")} == {"1", "0"}
    assert found.saved_for_backward_bytes == 4 * 64


def test_storing_a_gradient_belongs_to_no_module() -> None:
    # The gradient's strides are not the parameter's, so that it is copied when it is stored.
    found = training(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1).to(memory_format=torch.channels_last), nn.Tanh()))
    copies = [pair for pair in allocations(found, "backward") if pair[1] == "aten.new_empty_strided"]
    assert copies == [("", "aten.new_empty_strided")]


def test_a_thread_without_python_code_is_autograds() -> None:
    assert called_by_autograd(None)
    assert not called_by_autograd(sys._getframe())


def test_a_checkpoints_second_forward_keeps_its_modules_names() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Sigmoid(), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]

    again = [pair for pair in allocations(training(Wrapped()), "backward") if "backward" not in pair[1]]
    assert again == [("inner.0", "aten.sigmoid"), ("inner.1", "aten.tanh")]


def test_shares_of_modules_add_up_and_come_largest_first() -> None:
    found = trace(Step(nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 2, 1)), (torch.randn(1, 4, 4, 4),)))
    weights = 4 * (8 * 4 + 2 * 8 + 2)
    assert by_module(found.alive) == (
        ModuleShare("0", 512, 1),
        ModuleShare("(input)", 256, 1),
        ModuleShare("(weights)", weights, 3),
        ModuleShare("1", 128, 1),
    )
    assert found.alive[0].shape == (1, 8, 4, 4)
    assert found.alive[0].operator == "aten.convolution"
