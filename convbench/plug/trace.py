"""What goes into and comes out of layers during one call of a host, and what they cost there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from convbench.errors import TargetError
from convbench.measures.cost import measure_cost
from convbench.plug.change import Shape
from convbench.target.arguments import Arguments


@dataclass(frozen=True, slots=True)
class Calls:
    """Shape of the first input and of the output, one for each call; None for an output that is no tensor."""

    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape | None, ...] = ()


def record_calls(host: nn.Module, call: Arguments, layers: Iterable[nn.Module]) -> dict[nn.Module, Calls]:
    """The calls of each layer in one forward pass without gradients. Raises TargetError where the host does not run."""
    found: dict[nn.Module, list[tuple[Shape, Shape | None]]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        given = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ()
        found[layer].append((given, tuple(output.shape) if isinstance(output, Tensor) else None))

    handles = [layer.register_forward_hook(note) for layer in found]
    try:
        with torch.no_grad():
            _called(host, call)
    except Exception as error:  # the host's own code runs here
        raise TargetError(f"the host does not take its input: {type(error).__name__}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return {
        layer: Calls(tuple(given for given, _ in calls), tuple(output for _, output in calls))
        for layer, calls in found.items()
    }


def require_runs(host: nn.Module, call: Arguments, block: str) -> None:
    """Raise TargetError unless the host still runs: it may reach into the layers whose place the block took."""
    try:
        with torch.no_grad():
            _called(host, call)
    except Exception as error:  # the host's own code runs here
        raise TargetError(
            f"the host does not run with {block} in it ({type(error).__name__}: {error}): it uses more of its layers "
            "than their outputs; choose others by --where REGEX or --after STAGE"
        ) from error


def _called(host: nn.Module, call: Arguments) -> None:
    args, kwargs = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, call)
    host(*args, **kwargs)


def params_of(module: nn.Module) -> int:
    """Elements of its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs_of(module: nn.Module, shapes: Sequence[Shape]) -> int:
    """MACs of one forward at each of ``shapes``."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    return sum(measure_cost(module, (torch.empty(shape, device="meta", dtype=dtype),)).macs for shape in shapes)
