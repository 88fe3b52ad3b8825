"""Small helpers that the cost tests share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convbench.measures.cost import Cost, Figures


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of these sizes without storage."""
    return torch.empty(shape, dtype=dtype, device="meta")


class Forward(nn.Module):
    """A module whose forward pass is the given function of itself and the inputs."""

    def __init__(self, function: Callable[..., object], **members: object) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.function(self, *args, **kwargs)


def figures_of(cost: Cost) -> Figures:
    """The seven additive figures alone, for comparison."""
    return Figures(**cost.values())


def assert_adds_up(cost: Cost) -> None:
    """Operators, modules and the total say the same, in every figure."""
    total = figures_of(cost)
    assert sum(cost.operators, Figures()) == total
    assert sum((module.own for module in cost.modules), Figures()) == total
    assert cost.modules[0].total == total
    for module in cost.modules:
        below = (
            other.own
            for other in cost.modules
            if module.path == "" or other.path == module.path or other.path.startswith(module.path + ".")
        )
        assert sum(below, Figures()) == module.total
    assert cost.forward_macs + cost.backward_macs == cost.macs
