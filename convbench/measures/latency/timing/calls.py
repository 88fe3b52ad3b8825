"""The call that is timed: one forward, with or without gradients, or one training step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convbench.errors import MeasurementError
from convbench.measures.latency.timing.clock import Call
from convbench.target.blueprint import Subject

Guard = Callable[[], AbstractContextManager[Any]]


def make_call(subject: Subject) -> tuple[Call, Guard]:
    """One call of ``subject`` without arguments, and the gradient mode that is entered around calls, untimed.

    inference: forward under ``inference_mode``; forward: forward with gradients recorded; training: gradients cleared,
    forward, backward. Compiled subjects compile on the first call. Autocast is entered in every call, as an
    application does: entered once around many calls it would keep the cast weights from one call to the next.
    """
    module: Callable[..., Any] = subject.module
    if subject.case.execution == "compiled":
        module = torch.compile(subject.module)
    forward = partial(module, *subject.args, **subject.kwargs)
    if subject.autocast is not None:
        forward = partial(_autocast, forward, subject.case.device_type, subject.autocast)
    return _CALLS[subject.case.mode](subject, forward)


def _inference(_subject: Subject, forward: Call) -> tuple[Call, Guard]:
    return forward, torch.inference_mode


def _forward(subject: Subject, forward: Call) -> tuple[Call, Guard]:
    _differentiated_inputs(subject)
    return forward, torch.enable_grad


def _training(subject: Subject, forward: Call) -> tuple[Call, Guard]:
    return TrainingStep(forward, subject.module, _differentiated_inputs(subject)), torch.enable_grad


def _differentiated_inputs(subject: Subject) -> list[Tensor]:
    """The input tensors, which from now on require a gradient where the case asks for it."""
    inputs = [leaf for leaf in tree_leaves((subject.args, dict(subject.kwargs))) if isinstance(leaf, Tensor)]
    if subject.input_grad:
        for tensor in inputs:
            tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
    return inputs


class TrainingStep:
    """Clear the gradients, forward, backward from a dense gradient of ones at every differentiable output.

    The gradient is made once: an expanded scalar, as ``sum().backward()`` gives, is dense nowhere in a network and
    makes kernels copy it.
    """

    def __init__(self, forward: Call, module: nn.Module, inputs: list[Tensor]) -> None:
        self._forward = forward
        self._leaves = [leaf for leaf in (*module.parameters(), *inputs) if leaf.requires_grad]
        self._gradients: list[Tensor] | None = None

    def __call__(self) -> None:
        for leaf in self._leaves:
            leaf.grad = None
        output = self._forward()
        outputs = [output] if isinstance(output, Tensor) else _differentiable(output)
        if self._gradients is None:
            self._gradients = _gradients_of(outputs)
        torch.autograd.backward(outputs, self._gradients)


def _differentiable(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]


def _gradients_of(outputs: list[Tensor]) -> list[Tensor]:
    if not outputs or not outputs[0].requires_grad:
        raise MeasurementError("a training step needs an output that depends on a parameter or an input with gradient")
    return [torch.ones_like(output, memory_format=torch.preserve_format) for output in outputs]


def _autocast(forward: Call, device_type: str, dtype: torch.dtype) -> object:
    with torch.autocast(device_type, dtype):
        return forward()


_CALLS: dict[str, Callable[[Subject, Call], tuple[Call, Guard]]] = {
    "inference": _inference,
    "forward": _forward,
    "training": _training,
}
