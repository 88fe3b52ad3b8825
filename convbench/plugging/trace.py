"""What goes into and comes out of layers during one call of a host, and what they cost there. The host stays as it is.

A host is run on a clone: it may keep what it computed in a call (a detector its anchors), and count calls in its norms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import TargetError
from convbench.execution.clone import cloning
from convbench.execution.guard import isolated, unlogged
from convbench.execution.tensors import How, registered_tensors
from convbench.measures.cost import measure_cost
from convbench.plugging.change import Shape
from convbench.target.arguments import Arguments


@dataclass(slots=True)
class Calls:
    """Shape of the first input and of the output, one for each call; None for an output that is no tensor.

    in_training_alone: whether evaluating the host does not call the layer: an auxiliary head, for instance.
    """

    inputs: list[Shape] = field(default_factory=list)
    outputs: list[Shape | None] = field(default_factory=list)
    in_training_alone: bool = False


def record_calls(host: nn.Module, call: Arguments, layers: Iterable[str]) -> dict[str, Calls]:
    """The calls of the layers of these names in one call of the host; of a layer called in training alone, in that.

    Raises TargetError where the host does not run in evaluation.
    """
    names = list(layers)
    found = _calls(host, call, names, training=False)
    missing = [name for name in names if not found[name].inputs]
    if missing:
        with suppress(TargetError):  # a host that does not train is no matter here
            more = _calls(host, call, missing, training=True)
            for name in missing:
                more[name].in_training_alone = bool(more[name].inputs)
            found |= more
    return found


def _calls(host: nn.Module, call: Arguments, names: Sequence[str], *, training: bool) -> dict[str, Calls]:
    found: dict[str, Calls] = {}

    def listen(clone: nn.Module) -> None:
        found.update((name, Calls()) for name in names)
        for name in names:
            clone.get_submodule(name).register_forward_hook(_noting(found[name]))

    error = _failure(host, call, training=training, prepare=listen)
    if error is not None:
        raise TargetError(f"the host does not take its input: {type(error).__name__}: {error}") from error
    return found


def _noting(calls: Calls) -> Any:
    def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.inputs.append(tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ())
        calls.outputs.append(tuple(output.shape) if isinstance(output, Tensor) else None)

    return note


def failure_of(host: nn.Module, call: Arguments, layers: Iterable[tuple[str, int]] = ()) -> Exception | None:
    """Why evaluating a clone of the host fails; None where it runs.

    layers: names of parts and how often each must be called: a host that runs the children of a layer one by one would
    call what was added among them once more.
    """
    counts = dict.fromkeys((name for name, _ in layers), 0)
    wanted = dict(layers)

    def listen(clone: nn.Module) -> None:
        for name in counts:
            counts[name] = 0
            clone.get_submodule(name).register_forward_hook(
                lambda *_, name=name: counts.update({name: counts[name] + 1})
            )

    error = _failure(host, call, training=False, prepare=listen)
    wrong = next((name for name, times in counts.items() if times != wanted[name]), None)
    if error is None and wrong is not None:
        return TargetError(f"{wrong} is called {counts[wrong]} times instead of {wanted[wrong]}")
    return error


def _failure(host: nn.Module, call: Arguments, *, training: bool, prepare: Any) -> Exception | None:
    """Run a clone: without data first, which costs nothing, and with data where its code asks for values."""
    error: Exception | None = None
    for how, values in _ways(host):
        try:
            with isolated(), unlogged(), torch.no_grad(), cloning(how, values=values) as cloner:
                clone, (given, kwargs) = cloner.module(host), cloner.arguments(call)
                _set_mode(clone, training)
                prepare(clone)
                clone(*given, **kwargs)
        except Exception as caught:  # the host's own code runs here
            error = caught
        else:
            return None
    return error


def _ways(host: nn.Module) -> Iterator[tuple[How, bool]]:
    """How the host is cloned, and whether tensors that are neither parameters nor buffers keep their values."""
    yield "meta", True
    yield "meta", False
    if not all(tensor.is_meta for tensor in registered_tensors(host)):
        yield "real", True


def _set_mode(host: nn.Module, training: bool) -> None:
    """Training without the statistics of a batch, which a batch of one pixel has not."""
    host.train(training)
    for module in host.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def params_of(module: nn.Module) -> int:
    """Elements of its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs_of(module: nn.Module, shapes: Sequence[Shape]) -> int:
    """MACs of one forward at each of ``shapes``."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    return sum(measure_cost(module, (torch.empty(shape, device="meta", dtype=dtype),)).macs for shape in shapes)
