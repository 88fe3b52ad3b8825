"""Results of element-wise operators: broadcast sizes, and the strides that TensorIterator would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convbench.measures.cost.inference.layouts import Result, strided
from convbench.measures.cost.rules.elementwise import ARITHMETIC, COMPOSED
from convbench.measures.cost.rules.gradients import GRADIENTS

_CONDITIONS = frozenset(["eq", "ne", "lt", "le", "gt", "ge"])
_SEVERAL_RESULTS_OR_SIZES = {
    "max.other", "min.other", "log_sigmoid_forward", "log_sigmoid_backward", "glu", "glu_backward",
    "native_dropout", "_fused_dropout", "native_dropout_backward", "rrelu_with_noise", "rrelu_with_noise_backward",
    "polar", "isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "polygamma", "copysign", "ldexp",
    "_masked_scale",
}  # fmt: skip
POINTWISE = (
    {*ARITHMETIC, *COMPOSED, *GRADIENTS, "clamp", "addcmul", "addcdiv", "elu", "softplus", "gelu", "gelu_backward",
     "elu_backward", "softplus_backward"} - _SEVERAL_RESULTS_OR_SIZES
)  # fmt: skip
_COUNTING = frozenset(("add", "sub", "mul"))
"""Operators on a counter and a number, as batch norm's count of batches."""

_HARMLESS_OPTIONS = frozenset(("alpha", "value", "approximate", "min", "max", "rounding_mode"))


def first_tensor(args: Sequence[object]) -> Tensor | None:
    return args[0] if isinstance(args[0], Tensor) else None


def _common(args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[list[Tensor], torch.Size] | None:
    """The tensors of an element-wise call and their broadcast sizes, if they share one floating dtype."""
    if not _HARMLESS_OPTIONS.issuperset(kwargs) or any(
        isinstance(value, (Tensor, complex)) for value in kwargs.values()
    ):
        return None
    tensors = []
    for arg in args:
        if isinstance(arg, Tensor):
            tensors.append(arg)
        elif isinstance(arg, (complex, list, tuple)):
            return None
    if not tensors:
        return None
    dtype = tensors[0].dtype
    if not dtype.is_floating_point or any(tensor.dtype is not dtype for tensor in tensors):
        return None
    sizes = tensors[0].shape
    if any(tensor.shape != sizes for tensor in tensors):
        try:
            sizes = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))  # type: ignore[no-untyped-call]
        except RuntimeError:
            return None
    return tensors, sizes


def elementwise_strides(sizes: torch.Size, operands: Sequence[Tensor]) -> list[int]:
    """Strides of a new result, dense, its dimensions in the order that the operands' strides have.

    The first operand that can tell two dimensions apart decides; dimensions it is broadcast over it cannot tell.
    Source: TensorIterator, ``reorder_dimensions`` (torch's own Python form imports sympy for symbolic sizes).
    """
    rank = len(sizes)
    aligned = [_broadcast_strides(sizes, operand) for operand in operands]

    def goes_outside(inner: int, outer: int) -> int:
        for steps in aligned:
            if steps[inner] and steps[outer]:
                if steps[inner] != steps[outer]:
                    return 1 if steps[inner] > steps[outer] else -1
                if sizes[inner] > sizes[outer]:
                    return 1
        return 0

    order = list(range(rank - 1, -1, -1))  # innermost first
    for position in range(1, rank):
        placed = position
        for candidate in range(position - 1, -1, -1):
            verdict = goes_outside(order[candidate], order[placed])
            if verdict > 0:
                order[candidate], order[placed] = order[placed], order[candidate]
                placed = candidate
            elif verdict < 0:
                break
    strides, step = [0] * rank, 1
    for axis in order:
        strides[axis] = step
        step *= max(1, sizes[axis])
    return strides


def _broadcast_strides(sizes: torch.Size, operand: Tensor) -> list[int]:
    """An operand's strides over the broadcast sizes, zero where it is repeated."""
    missing = len(sizes) - operand.dim()
    own = zip(operand.shape, operand.stride(), sizes[missing:], strict=True)
    return [0] * missing + [0 if size == 1 and size != wanted else step for size, step, wanted in own]


def pointwise(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    if common is None:
        return None
    tensors, sizes = common
    dtype = torch.bool if name in _CONDITIONS else tensors[0].dtype
    return strided(sizes, elementwise_strides(sizes, tensors), dtype)


def pointwise_in_place(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    target = first_tensor(args)
    if target is not None and name in _COUNTING and not target.dtype.is_floating_point:
        return target if all(type(arg) is int for arg in args[1:]) and target.dtype is not torch.bool else None
    return target if common is not None and target is not None and target.shape == common[1] else None


def where(condition: Tensor, a: object = None, b: object = None) -> Result:
    """A choice between two tensors of one dtype."""
    if (
        not (isinstance(a, Tensor) and isinstance(b, Tensor))
        or a.dtype is not b.dtype
        or condition.dtype is not torch.bool
    ):
        return None
    try:
        sizes = torch.broadcast_shapes(condition.shape, a.shape, b.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None
    return strided(sizes, elementwise_strides(sizes, (condition, a, b)), a.dtype)
