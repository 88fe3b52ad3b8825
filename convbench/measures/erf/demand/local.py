"""Operators that treat every position alike and apart: a box of the output needs the same box of the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convbench.measures.erf.demand.graph import Boxes, Call, Lengths, Operand, Value
from convbench.measures.erf.demand.layout import SPATIAL, Layout, Region, Span, aligned, axes_of, broadcast

Change = Callable[[Lengths], dict[int, Any]]


@dataclass(frozen=True, slots=True)
class LocalStep:
    """layouts: how each operand's dimensions follow the output's axes. change: positional arguments on a box."""

    call: Call
    layouts: tuple[Layout, ...]
    change: Change | None = None

    @property
    def operands(self) -> Sequence[Operand]:
        return self.call.operands

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        return span

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        tensors = [
            boxes.take(operand, region, layout) for operand, layout in zip(self.operands, self.layouts, strict=True)
        ]
        result = self.call.run(tensors, self.change(lengths) if self.change else None)
        return [result] if isinstance(result, Tensor) else list(result)


def local(call: Call, outputs: Sequence[Layout], change: Change | None = None) -> tuple[LocalStep, list[Value]]:
    """The step of an operator whose operands keep their own layouts, with outputs of the first operand's dtype."""
    layouts = tuple(operand.layout for operand in call.operands)
    dtype = call.operands[0].dtype
    return LocalStep(call, layouts, change), [Value(layout, dtype) for layout in outputs]


def pointwise(call: Call) -> tuple[LocalStep, list[Value]]:
    """Element by element, with broadcasting."""
    output = broadcast([operand.layout for operand in call.operands])
    layouts = tuple(aligned(operand.layout, output) for operand in call.operands)
    result = call.run([torch.ones((1,) * len(operand.layout), dtype=operand.dtype) for operand in call.operands])
    results = [result] if isinstance(result, Tensor) else list(result)
    return LocalStep(call, layouts), [Value(output, item.dtype) for item in results]


@dataclass(frozen=True, slots=True)
class PassStep:
    """An operator that joins positions, as its local path has it: output pixel i lies where operand pixel i does.

    operands: those that lie where the output does; what has lost an axis of theirs (a pooled gate) leads back to none.
    """

    operands: Sequence[Operand]

    @classmethod
    def of(cls, call: Call, outputs: Sequence[Value]) -> PassStep:
        """The step of a call that gives these."""
        kept = {axis: size for output in outputs for axis, size in axes_of(output.layout).items()}
        return cls(
            tuple(
                operand
                for operand in call.operands
                if operand.value is not None
                and all(kept.get(axis) == size for axis, size in axes_of(operand.layout).items() if axis in SPATIAL)
            )
        )

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        return span

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        raise AssertionError("a local path says where a field lies, not what it is")
