"""One call of a module under the counter: forward, and backward where training is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convbench.execution.step import NothingToDifferentiate, Step
from convbench.execution.tensors import tensors_in
from convbench.measures.cost.counter import CostCounter
from convbench.measures.cost.declared import Declarations


@dataclass(frozen=True, slots=True)
class Pass:
    """What one call left behind."""

    counter: CostCounter
    declarations: Declarations
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def run(counter: CostCounter, step: Step) -> Pass:
    """Carry the step out under the counter."""
    inputs, outputs = step.inputs, list[Tensor]()
    counter.provenance.start(inputs)
    declarations = Declarations(counter)

    def forward_done(found: Sequence[Tensor]) -> None:
        outputs.extend(found)
        counter.in_backward = counter.paused = step.mode == "training"

    def loss_of(output: object) -> Tensor:
        ends = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        if not ends:
            raise NothingToDifferentiate(
                "a training step needs an output that depends on a parameter or an input with gradient"
            )
        loss: Tensor = _Sum.apply(counter, *ends)
        return loss

    with counter.tree.following(), declarations.listening():
        step.run(forward_done, under=lambda: counter, loss_of=loss_of)
    return Pass(counter, declarations, inputs, tuple(outputs))


class _Sum(torch.autograd.Function):
    """A sum that is not carried out, with a gradient that is dense, as it comes to a block inside a network.

    That of ``sum()`` is one element expanded, which a kernel would seem to read once. What backward does before is no
    part of the module; the counter goes on when this gradient is there.
    """

    @staticmethod
    def forward(ctx: Any, counter: CostCounter, *ends: Tensor) -> Tensor:
        ctx.counter = counter
        # On meta ones_like is written in Python, and its first call imports torch._dynamo.
        ctx.ones = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
            if x.is_meta
            else torch.ones_like(x)
            for x in ends
        ]
        return torch.empty((), device=ends[0].device)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        ctx.counter.paused = False
        return (None, *ctx.ones)
