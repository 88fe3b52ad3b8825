"""The call whose memory is measured: one forward, or one training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convbench.errors import MeasurementError

if TYPE_CHECKING:
    from convbench.target.blueprint import Subject


@dataclass(frozen=True, slots=True)
class Step:
    """A module, the arguments of one call, and what the call is.

    mode: ``inference``, forward without gradients; ``forward``, forward that records them; ``training``, forward and
        backward of the sum of all differentiable outputs.
    autocast: dtype of the autocast region around forward, or None.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "inference"
    autocast: torch.dtype | None = None

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return _tensors((self.args, dict(self.kwargs)))

    def run(self, *, forward_done: Callable[[list[Tensor]], None] = lambda _: None) -> None:
        """Run it once. ``forward_done`` gets the outputs, before a training step releases them.

        Raises MeasurementError when a training step has nothing to differentiate.
        """
        with torch.set_grad_enabled(self.mode != "inference"):
            if self.mode == "training":
                with self._autocast():
                    loss = _sum(self._outputs(), forward_done)
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                with self._autocast():
                    forward_done(_tensors(self._outputs()))

    def clear_gradients(self) -> None:
        """Drop the gradients of the parameters and of the inputs."""
        self.module.zero_grad(set_to_none=True)
        for tensor in self.inputs:
            tensor.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradients that the parameters and the inputs hold."""
        leaves = [*self.module.parameters(), *self.inputs]
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    def _outputs(self) -> Any:
        return self.module(*self.args, **self.kwargs)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        device = next((tensor.device.type for tensor in self.inputs), "cpu")
        return torch.autocast(device, self.autocast)


def step_of(subject: Subject, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Step:
    """The call of ``subject``, made on ``module`` with these arguments; marks the inputs that get a gradient."""
    step = Step(module, args, kwargs, subject.case.mode, subject.autocast)
    if subject.records_gradients and subject.input_grad:
        for tensor in step.inputs:
            tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
    return step


def _sum(outputs: Any, forward_done: Callable[[list[Tensor]], None]) -> Tensor:
    """The sum of every output that has a gradient; a function, so that the outputs are let go when it returns."""
    tensors = _tensors(outputs)
    sums = [tensor.real.sum() if tensor.is_complex() else tensor.sum() for tensor in tensors if tensor.requires_grad]
    if not sums:
        raise MeasurementError("a training step needs an output that depends on a parameter or an input with gradient")
    forward_done(tensors)
    loss = sums[0]
    for term in sums[1:]:
        loss = loss + term
    return loss


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
