"""The one call, where it calls something else than the module itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convbench.execution.step import Step


class Refuses(nn.Module):
    """Must not be called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the module was called instead of what was made of it")


class WithoutLength(nn.Identity):
    """As torch.compile's wrapper of a module that has no length."""

    def __len__(self) -> int:
        raise TypeError("Identity does not support len()")


@pytest.mark.parametrize("called", [nn.Sequential(), WithoutLength()], ids=["false", "neither true nor false"])
@pytest.mark.parametrize("mode", ["inference", "forward", "training"])
def test_what_is_called_may_be_false(called: nn.Module, mode: str) -> None:
    x = torch.ones(2, requires_grad=mode == "training")
    step = Step(Refuses(), (x,), mode=mode, call=called)
    step.run()
    if mode == "training":
        assert x.grad is not None
        assert x.grad.tolist() == [1.0, 1.0]
    assert step.forward() is x or step.forward().equal(x)
