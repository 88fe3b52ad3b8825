"""One call of a module under the counter: forward, and backward where training is counted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from convbench.execution.step import NothingToDifferentiate, Step
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
        counter.in_backward = step.mode == "training"

    # Where no output has a gradient, as of an argmax or a frozen network, training costs its forward.
    with counter.tree.following(), declarations.listening(), suppress(NothingToDifferentiate):
        step.run(forward_done, under=lambda: counter)
    return Pass(counter, declarations, inputs, tuple(outputs))
