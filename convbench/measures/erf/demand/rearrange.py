"""Rules of operators that only rearrange dimensions: views, permutations, expansion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch

from convbench.measures.erf.demand.graph import Call, Value
from convbench.measures.erf.demand.layout import Factor, Layout, NotLocal, regroup, shape_of, sizes_in
from convbench.measures.erf.demand.local import LocalStep, local
from convbench.measures.erf.demand.rules import rule

aten = torch.ops.aten
Result = tuple[LocalStep, Sequence[Value]]


@rule(aten.permute.default)
def permute(call: Call) -> Result:
    layout = call.operands[0].layout
    return local(call, [tuple(layout[dim] for dim in call.named["dims"])])


@rule(aten.transpose.int)
def transpose(call: Call) -> Result:
    order = list(range(len(call.operands[0].layout)))
    first, second = call.named["dim0"], call.named["dim1"]
    order[first], order[second] = order[second], order[first]
    return local(call, [tuple(call.operands[0].layout[dim] for dim in order)])


@rule(aten.t.default)
def matrix_transpose(call: Call) -> Result:
    return local(call, [call.operands[0].layout[::-1]])


@rule(aten.unsqueeze.default)
def unsqueeze(call: Call) -> Result:
    layout = call.operands[0].layout
    place = call.named["dim"] % (len(layout) + 1)
    return local(call, [(*layout[:place], (), *layout[place:])])


@rule(aten.squeeze.dim, aten.squeeze.dims)
def squeeze(call: Call) -> Result:
    layout = call.operands[0].layout
    asked = call.named["dim"]
    dims = {dim % len(layout) for dim in (asked if isinstance(asked, list | tuple) else [asked])}
    if any(shape_of(layout)[dim] != 1 for dim in dims):
        raise NotLocal("squeeze would drop a dimension on a box of one pixel that it keeps on the map")
    return local(call, [tuple(dim for place, dim in enumerate(layout) if place not in dims)])


@rule(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def view(call: Call) -> Result:
    operand = call.operands[0]
    sizes = list(call.named["size" if "size" in call.named else "shape"])
    if -1 in sizes:
        sizes[sizes.index(-1)] = prod(shape_of(operand.layout)) // -prod(sizes)
    layout = regroup(operand.layout, sizes)
    # A box is a part of a larger tensor, which a view may not be able to follow without a copy.
    copying = replace(call, operator=aten.reshape.default)
    return local(copying, [layout], lambda lengths: {1: sizes_in(layout, lengths)})


@rule(aten.expand.default)
def expand(call: Call) -> Result:
    layout = call.operands[0].layout
    sizes = call.named["size"]
    padded: Layout = ((),) * (len(sizes) - len(layout)) + layout
    output = tuple(
        dim if dim or size in (-1, 1) else (Factor(None, size),) for dim, size in zip(padded, sizes, strict=True)
    )
    return local(call, [output], lambda lengths: {1: sizes_in(output, lengths)})
