"""One pass of a module under the counter: forward, and backward where training is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convbench.measures.cost.counter import CostCounter
from convbench.measures.cost.declared import Declarations


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass left behind."""

    counter: CostCounter
    declarations: Declarations
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def tensors_in(value: object) -> tuple[Tensor, ...]:
    """Every tensor in nested lists, tuples and mappings, and in objects that keep tensors as attributes."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif not isinstance(leaf, (type, nn.Module)):
            found.extend(item for item in tree_leaves(_attributes(leaf)) if isinstance(item, Tensor))
    return tuple(found)


def _attributes(leaf: object) -> list[object]:
    if is_dataclass(leaf):
        return [getattr(leaf, item.name) for item in fields(leaf)]
    return list(getattr(leaf, "__dict__", {}).values())


def run(
    counter: CostCounter, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any],
    leaves: Sequence[Tensor] | None, *, accumulate: bool = False,
) -> Pass:  # fmt: skip
    """Forward; with ``leaves`` also backward, from every differentiable result to them and to the parameters.

    ``accumulate`` leaves the gradients in ``.grad``, which reentrant checkpoints insist on.
    """
    inputs = tensors_in((args, dict(kwargs)))
    counter.provenance.start(inputs)
    declarations = Declarations(counter)
    with torch.set_grad_enabled(leaves is not None), counter.tree.following():
        with declarations.listening(), counter:
            output = module(*args, **kwargs)
        outputs = tensors_in(output)
        if leaves is not None:
            counter.in_backward = True
            with counter:
                backward((*module.parameters(), *leaves), outputs, accumulate=accumulate)
    return Pass(counter, declarations, inputs, outputs)


def backward(leaves: Sequence[Tensor], outputs: Sequence[Tensor], *, accumulate: bool = False) -> None:
    """The backward pass from every differentiable output to every leaf that requires a gradient."""
    ends = [output for output in outputs if output.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not ends or not wanted:
        return
    gradients = [torch.empty_strided(end.shape, end.stride(), dtype=end.dtype, device=end.device) for end in ends]
    if accumulate:
        torch.autograd.backward(ends, gradients)
    else:
        torch.autograd.grad(ends, wanted, gradients, allow_unused=True)
