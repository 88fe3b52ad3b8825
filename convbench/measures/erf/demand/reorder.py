"""Operators that take the pixels of an axis in another order: rolling, flipping, constant indices, circular padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.measures.erf.demand.graph import Boxes, Call, Lengths, Operand, Value
from convbench.measures.erf.demand.layout import NotLocal, Region, Span, axis_dim, is_plain, plain_dim, shape_of
from convbench.measures.erf.demand.rules import rule
from convbench.measures.erf.demand.sliding import single_axis

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Order:
    """Along one dimension, output pixel j is input pixel taken[j], and slope·j + offset where the image goes on."""

    axis: int | None
    taken: Tensor
    slope: int = 1
    offset: int = 0

    @classmethod
    def of(cls, axis: int | None, taken: Tensor) -> Order:
        """Raises NotLocal for an order that no slope describes."""
        if axis is None:
            return cls(None, taken)
        steps = (taken[1:] - taken[:-1]).tolist()
        slope, often = Counter(steps).most_common(1)[0] if steps else (1, 0)
        if slope == 0 or often < len(steps) / 2:
            raise NotLocal("pixels are taken in no regular order")
        starts = (taken[:-1] - slope * torch.arange(len(steps))).tolist()
        regular = [start for start, step in zip(starts, steps, strict=True) if step == slope]
        return cls(axis, taken, slope, Counter(regular).most_common(1)[0][0] if regular else int(taken[0]))

    def reach(self, span: Span, within: bool) -> Span:
        """The input pixels of a span of the output; see ``graph.Step.reach``."""
        start, end = span
        if within:
            part = self.taken[max(start, 0) : end]
            return (int(part.min()), int(part.max()) + 1) if len(part) else (0, 1)
        ends = self.slope * start + self.offset, self.slope * (end - 1) + self.offset
        return min(ends), max(ends) + 1


@dataclass(frozen=True, slots=True)
class ReorderStep:
    """orders: dimension → its order."""

    source: Operand
    orders: Mapping[int, Order]

    @property
    def operands(self) -> Sequence[Operand]:
        return [self.source]

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        for order in self.orders.values():
            if order.axis == axis:
                return order.reach(span, within)
        return span

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        need = list(region)
        for order in self.orders.values():
            if order.axis is not None:
                need[order.axis] = order.reach(region[order.axis], True)
        x = boxes.take(self.source, (need[0], need[1]))
        for dim, order in self.orders.items():
            taken = order.taken
            if order.axis is not None:
                taken = taken[slice(*region[order.axis])] - need[order.axis][0]
            x = x.index_select(dim, taken.to(x.device))
        return [x]


def reordered(call: Call, taken: Mapping[int, Tensor]) -> tuple[ReorderStep, list[Value]]:
    """taken: dimension → the input's index for every index of the output."""
    source = call.operands[0]
    layout, orders = list(source.layout), {}
    for dim, indices in taken.items():
        axis = single_axis(layout[dim])
        if axis is None and not is_plain(layout[dim]):
            raise NotLocal(f"{call.name} works across positions or samples")
        orders[dim] = Order.of(axis, indices)
        layout[dim] = plain_dim(len(indices)) if axis is None else axis_dim(axis, len(indices))
    return ReorderStep(source, orders), [Value(tuple(layout), source.dtype)]


@rule(aten.index_select.default)
def index_select(call: Call) -> tuple[ReorderStep, list[Value]]:
    index = call.operands[1]
    if index.constant is None:
        raise NotLocal("which entries are taken depends on the input")
    return reordered(call, {call.named["dim"] % len(call.operands[0].layout): index.constant.flatten().cpu()})


@rule(aten.roll.default)
def roll(call: Call) -> tuple[ReorderStep, list[Value]]:
    shape = shape_of(call.operands[0].layout)
    taken: dict[int, Tensor] = {}
    for shift, asked in zip(call.named["shifts"], call.named["dims"], strict=False):
        dim = asked % len(shape)
        taken[dim] = taken.get(dim, torch.arange(shape[dim])).roll(shift)
    if not taken:
        raise NotLocal("roll without dimensions mixes rows")
    return reordered(call, taken)


@rule(aten.flip.default)
def flip(call: Call) -> tuple[ReorderStep, list[Value]]:
    shape = shape_of(call.operands[0].layout)
    return reordered(call, {dim % len(shape): torch.arange(shape[dim]).flip(0) for dim in call.named["dims"]})
