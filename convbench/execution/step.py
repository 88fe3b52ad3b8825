"""The one call that cost, memory, latency and verification carry out: inference, forward, or a training step.

**inference**: forward without gradients. **forward**: forward with gradients recorded. **training**: gradients dropped
(``zero_grad(set_to_none=True)``), forward, and backward of the sum of all differentiable outputs, to every parameter
that requires a gradient and, where the case says so, to the input. No optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import MeasurementError
from convbench.execution.tensors import tensors_in


class NothingToDifferentiate(MeasurementError):  # noqa: N818 - what is the matter, not that something is
    """No output of a training step depends on a parameter or an input with gradient."""


@dataclass(frozen=True, slots=True)
class Step:
    """A module, the arguments of one call, and what the call is.

    autocast: dtype of the autocast region around forward, entered in every call as an application does, or None.
    call: what is called, where it is not the module itself but what ``torch.compile`` made of it.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "inference"
    autocast: torch.dtype | None = None
    call: Callable[..., Any] | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments."""
        return tensors_in((self.args, dict(self.kwargs)))

    @property
    def records_gradients(self) -> bool:
        """Whether forward records what a backward pass needs."""
        return self.mode != "inference"

    @property
    def _called(self) -> Callable[..., Any]:
        """Not ``call or module``: an empty Sequential is false, and what torch.compile makes has no length."""
        return self.module if self.call is None else self.call

    def ask_for_input_gradients(self) -> Step:
        """Let the floating tensors among the arguments require a gradient; gives the step itself."""
        for tensor in self.inputs:
            tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
        return self

    def forward(self) -> Any:
        """What the module gives, under autocast where that is asked for; in whatever gradient mode is active."""
        with self._autocast():
            return self._called(*self.args, **self.kwargs)

    def run(
        self,
        forward_done: Callable[[Sequence[Tensor]], object] = lambda _: None,
        under: Callable[[], AbstractContextManager[Any]] = nullcontext,
        loss_of: Callable[[Any], Tensor] | None = None,
    ) -> tuple[Tensor, ...] | None:
        """Carry it out once; gives the outputs of what is no training step.

        forward_done: gets the outputs, before a training step releases them. under: entered around forward and around
        backward, but not for the sum between them, which is no part of the module. loss_of: instead of the sum, for a
        check that needs another weighting.
        Raises NothingToDifferentiate when a training step has nothing to differentiate.
        """
        with torch.set_grad_enabled(self.records_gradients):
            if self.mode != "training":
                with under():
                    outputs = tensors_in(self.forward())
                forward_done(outputs)
                return outputs
            self.clear_gradients()
            with under():
                output = self.forward()
            try:
                loss = (loss_of or sum_of)(output)
            finally:
                forward_done(tensors_in(output))
            del output
            with under():
                loss.backward()  # type: ignore[no-untyped-call]
            return None

    def repeated(self) -> Callable[[], object]:
        """`run` for a caller that makes the same call many times, in the mode of `gradient_mode`."""
        if self.mode == "training":
            return self._training_step(tuple(leaf for leaf in self._leaves() if leaf.requires_grad))
        plain = partial(self._called, *self.args, **self.kwargs)
        return plain if self.autocast is None else self.forward

    def _training_step(self, leaves: Sequence[Tensor]) -> Callable[[], None]:
        def step() -> None:
            for leaf in leaves:
                leaf.grad = None
            sum_of(self.forward()).backward()  # type: ignore[no-untyped-call]

        return step

    def gradient_mode(self) -> AbstractContextManager[Any]:
        """The mode around calls of `repeated`: inference mode, or gradients recorded."""
        return torch.enable_grad() if self.records_gradients else torch.inference_mode()

    def clear_gradients(self) -> None:
        """Drop the gradients of the parameters and of the inputs."""
        for leaf in self._leaves():
            leaf.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradients that the parameters and the inputs hold."""
        return [leaf.grad for leaf in self._leaves() if leaf.is_leaf and leaf.grad is not None]

    def _leaves(self) -> tuple[Tensor, ...]:
        return (*self.module.parameters(), *self.inputs)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        device = next((tensor.device.type for tensor in self.inputs), "cpu")
        return torch.autocast("cpu" if device == "meta" else device, self.autocast)


def sum_of(output: Any) -> Tensor:
    """The sum of every output that has a gradient, of its real part if complex. Raises NothingToDifferentiate."""
    tensors = (output,) if isinstance(output, Tensor) else tensors_in(output)
    sums = [tensor.real.sum() if tensor.is_complex() else tensor.sum() for tensor in tensors if tensor.requires_grad]
    if not sums:
        raise NothingToDifferentiate(
            "a training step needs an output that depends on a parameter or an input with gradient"
        )
    loss = sums[0]
    for term in sums[1:]:
        loss = loss + term
    return loss
