"""Rules of operators on channels: linear layers, normalisations, reductions, softmax, concatenation and splitting."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from convbench.measures.erf.demand.graph import Call, Operand, Value
from convbench.measures.erf.demand.layout import Layout, NotLocal, broadcast, checked, is_plain, plain_dim, shape_of
from convbench.measures.erf.demand.local import LocalStep, local, pointwise
from convbench.measures.erf.demand.rules import rule

aten = torch.ops.aten
Result = tuple[LocalStep, Sequence[Value]]


# Element-wise in all but torch's own tag.
rule(aten.hardswish.default, aten._to_copy.default, aten._prelu_kernel.default, aten.floor_divide)(pointwise)
rule(aten.zeros_like.default, aten.ones_like.default, aten.full_like.default)(pointwise)


@rule(aten.mm.default, aten.bmm.default)
def matrix_product(call: Call) -> Result:
    left, right = call.operands
    return _product(call, left, right)


@rule(aten.addmm.default)
def matrix_product_with_bias(call: Call) -> Result:
    bias, left, right = call.operands
    if bias.value is not None:
        raise NotLocal("the added matrix depends on the input")
    return _product(call, left, right)


def _product(call: Call, left: Operand, right: Operand) -> Result:
    if not (is_plain(left.layout[-1]) and is_plain(right.layout[-2])):
        raise NotLocal(f"{call.name} sums over positions or samples", unbounded=True)
    if left.layout[:-2] != right.layout[:-2]:
        raise NotLocal(f"{call.name} multiplies every sample or position by a matrix of its own")
    return local(call, [checked((*left.layout[:-2], left.layout[-2], right.layout[-1]))])


@rule(aten.native_layer_norm.default)
def layer_norm(call: Call) -> Result:
    layout = call.operands[0].layout
    kept = len(layout) - len(call.named["normalized_shape"])
    _require_plain(call, layout, range(kept, len(layout)))
    statistics = (*layout[:kept], *((),) * (len(layout) - kept))
    return local(call, [layout, statistics, statistics])


@rule(aten.native_group_norm.default)
def group_norm(call: Call) -> Result:
    layout = call.operands[0].layout
    raise NotLocal("group_norm joins all positions", [layout, layout[:1], layout[:1]], unbounded=True)


@rule(
    aten.native_batch_norm.default,
    aten.cudnn_batch_norm.default,
    aten.miopen_batch_norm.default,
    aten._native_batch_norm_legit_no_training.default,
    aten._batch_norm_no_update.default,
)
def batch_norm(call: Call) -> Result:
    layout = call.operands[0].layout
    statistics = call.returns - 1
    if call.named.get("training", False):
        reason = "normalisation by statistics of the batch itself joins all positions"
        raise NotLocal(reason, [layout, *[()] * statistics], unbounded=True)
    _require_plain(call, layout, [1])
    step, (output,) = local(call, [layout])
    others = [Value((), output.dtype, readable=False)] * statistics
    return step, [output, *others]


@rule(
    aten.mean.dim, aten.sum.dim_IntList, aten.amax, aten.amin, aten.var.correction, aten.std.correction,
    aten.var_mean.correction, aten.linalg_vector_norm, aten.logsumexp, aten.max.dim, aten.min.dim, aten.prod.dim_int,
    aten.any.dim, aten.all.dim,
)  # fmt: skip
def reduction(call: Call) -> Result:
    layout = call.operands[0].layout
    dims = _dims(call, layout)
    kept = [() if place in dims else dim for place, dim in enumerate(layout)]
    if not call.named["keepdim"]:
        kept = [dim for place, dim in enumerate(kept) if place not in dims]
    outputs = [tuple(kept)] * call.returns
    _require_plain(call, layout, dims, outputs)
    return local(call, outputs)


@rule(aten._softmax.default, aten._log_softmax.default, aten.cumsum.default, aten.sort, aten.glu)
def along_dims(call: Call) -> Result:
    layout = call.operands[0].layout
    dims = _dims(call, layout)
    _require_plain(call, layout, dims)
    if call.operator is aten.glu.default:
        (half,) = dims
        layout = _resized(layout, half, shape_of(layout)[half] // 2)
    return local(call, [layout] * call.returns)


@rule(aten.cat.default)
def concatenation(call: Call) -> Result:
    operands = call.operands
    (dim,) = _dims(call, operands[0].layout)
    for operand in operands:
        _require_plain(call, operand.layout, [dim])
    # Along the other dimensions they must agree, as in an element-wise operator.
    others = broadcast([_resized(operand.layout, dim, 1) for operand in operands])
    lengths = [shape_of(operand.layout)[dim] for operand in operands]
    layouts = tuple(_resized(others, dim, length) for length in lengths)
    return LocalStep(call, layouts), [Value(_resized(others, dim, sum(lengths)), operands[0].dtype)]


@rule(aten.stack.default)
def stack(call: Call) -> Result:
    output = broadcast([operand.layout for operand in call.operands])
    place = call.named["dim"] % (len(output) + 1)
    layouts = (output,) * len(call.operands)
    stacked = (*output[:place], plain_dim(len(call.operands)), *output[place:])
    return LocalStep(call, layouts), [Value(stacked, call.operands[0].dtype)]


@rule(aten.split.Tensor, aten.split_with_sizes.default)
def split(call: Call) -> Result:
    layout = call.operands[0].layout
    (dim,) = _dims(call, layout)
    _require_plain(call, layout, [dim])
    whole = shape_of(layout)[dim]
    asked = call.named.get("split_size", call.named.get("split_sizes"))
    sizes = (
        list(asked)
        if isinstance(asked, list | tuple)
        else [min(asked, whole - start) for start in range(0, whole, asked)]
    )
    return local(call, [_resized(layout, dim, size) for size in sizes])


@rule(aten.unbind.int)
def unbind(call: Call) -> Result:
    layout = call.operands[0].layout
    (dim,) = _dims(call, layout)
    _require_plain(call, layout, [dim])
    return local(call, [layout[:dim] + layout[dim + 1 :]] * shape_of(layout)[dim])


@rule(aten.select.int)
def select(call: Call) -> Result:
    layout = call.operands[0].layout
    (dim,) = _dims(call, layout)
    _require_plain(call, layout, [dim])
    return local(call, [layout[:dim] + layout[dim + 1 :]])


@rule(aten.native_channel_shuffle.default, aten.channel_shuffle.default)
def channel_shuffle(call: Call) -> Result:
    layout = call.operands[0].layout
    _require_plain(call, layout, [1])
    return local(call, [layout])


def _dims(call: Call, layout: Layout) -> list[int]:
    """The dimensions an operator works along, non-negative; all of them where none is named."""
    asked = call.named.get("dim", call.named.get("dims"))
    if asked is None or asked == []:
        return list(range(len(layout)))
    return [dim % len(layout) for dim in (asked if isinstance(asked, list | tuple) else [asked])]


def _require_plain(call: Call, layout: Layout, dims: Sequence[int], outputs: Sequence[Layout] = ()) -> None:
    if not all(is_plain(layout[dim]) for dim in dims):
        raise NotLocal(f"{call.name} works across positions or samples", outputs, unbounded=True)


def _resized(layout: Layout, dim: int, size: int) -> Layout:
    return (*layout[:dim], plain_dim(size), *layout[dim + 1 :])
