"""Computing the input gradient of one output pixel from boxes: every operator on what that pixel sees of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.measures.erf.demand.graph import Graph, Operand, Step
from convbench.measures.erf.demand.layout import (
    SAMPLES,
    SPATIAL,
    Layout,
    Region,
    Span,
    axes_of,
    narrow,
    sizes_in,
)
from convbench.measures.erf.demand.record import Recording

_ONE: Region = ((0, 1), (0, 1))
"""The span along an axis that a value does not have."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one output pixel needs. regions: value number → its box. steps: those to run, in order, with their boxes."""

    regions: dict[int, Region]
    steps: tuple[tuple[Step, tuple[int, ...], Region], ...]


def demand(recording: Recording, position: tuple[int, int], within: bool) -> Demand | None:
    """Propagate the output pixel backwards through every step; None where it does not depend on the input at all.

    within: clip every box to its tensor, as evaluation needs; if not, the image goes on for ever, and the input's box
    is the theoretical receptive field.
    """
    graph = recording.graph
    row, column = position
    regions: dict[int, Region] = {recording.output: ((row, row + 1), (column, column + 1))}
    steps = []
    for step, outputs in reversed(graph.steps):
        needed = [regions[number] for number in outputs if number in regions]
        if not needed:
            continue
        region = _union(needed)
        steps.append((step, outputs, region))
        for operand in step.operands:
            if operand.value is not None:
                reached = _reached(step, operand, region, within)
                known = regions.get(operand.value)
                regions[operand.value] = reached if known is None else _union([known, reached])
    return Demand(regions, tuple(reversed(steps))) if 0 in regions else None


def input_gradient(recording: Recording, needed: Demand, x: Tensor, weights: Tensor, relu: bool) -> Tensor:
    """∂score/∂x on the input's box; see ``gradient.input_gradient``. x: (n, C, h, w), the box of every sample."""
    # Convolutions of small boxes and normalisations over channels both are faster so.
    leaf = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        boxes = _Boxes(recording.graph, needed, leaf)
        output = boxes.evaluate(recording.output).flatten(1)
        score = (weights.to(output) * (output.relu() if relu else output)).sum()
        if not score.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(score, leaf, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def elements_per_sample(recording: Recording, needed: Demand) -> int:
    """Elements of all boxes of one sample together: what the evaluation keeps for its backward pass, about."""
    total = 0
    for number, region in needed.regions.items():
        lengths = {axis: end - start for axis, (start, end) in zip(SPATIAL, region, strict=True)}
        count = 1
        for size in sizes_in(recording.graph.values[number].layout, {**lengths, SAMPLES: 1}):
            count *= size
        total += count
    return total


class _Boxes:
    def __init__(self, graph: Graph, needed: Demand, x: Tensor) -> None:
        self._graph = graph
        self._needed = needed
        self._samples = len(x)
        self._tensors: dict[int, Tensor] = {0: x}
        self._regions: dict[int, Region] = {0: needed.regions[0]}

    def evaluate(self, output: int) -> Tensor:
        last_use = {
            operand.value: index
            for index, (step, _, _) in enumerate(self._needed.steps)
            for operand in step.operands
            if operand.value is not None
        }
        for index, (step, outputs, region) in enumerate(self._needed.steps):
            lengths = {axis: end - start for axis, (start, end) in zip(SPATIAL, region, strict=True)}
            results = step.run(self, region, {**lengths, SAMPLES: self._samples})
            for number, result in zip(outputs, results, strict=False):
                if number in self._needed.regions:
                    self._tensors[number], self._regions[number] = result, region
            for operand in step.operands:
                if operand.value is not None and last_use[operand.value] == index:
                    self._tensors.pop(operand.value, None)
        return self._tensors[output]

    def take(self, operand: Operand, need: Region, layout: Layout | None = None) -> Tensor:
        """See ``graph.Boxes``."""
        layout = operand.layout if layout is None else layout
        have: dict[int, Span] = {axis: (0, size) for axis, size in axes_of(layout).items()}
        have[SAMPLES] = (0, self._samples)
        if operand.value is None:
            assert operand.constant is not None
            tensor = operand.constant
        else:
            tensor = self._tensors[operand.value]
            have |= {axis: self._regions[operand.value][axis] for axis in axes_of(operand.layout) if axis in SPATIAL}
            if operand.detached:
                tensor = tensor.detach()
        return narrow(tensor, layout, have, dict(zip(SPATIAL, need, strict=True)))


def _reached(step: Step, operand: Operand, region: Region, within: bool) -> Region:
    spans = list(_ONE)
    for axis, size in axes_of(operand.layout).items():
        if axis in SPATIAL:
            start, end = step.reach(operand, axis, region[axis], within)
            if within:
                start = min(max(start, 0), size - 1)
                end = max(min(end, size), start + 1)
            spans[axis] = (start, end)
    return spans[0], spans[1]


def _union(regions: Sequence[Region]) -> Region:
    rows, columns = zip(*regions, strict=True)
    return (
        (min(start for start, _ in rows), max(end for _, end in rows)),
        (min(start for start, _ in columns), max(end for _, end in columns)),
    )
