"""Results of element-wise operators: broadcast sizes, and the strides that TensorIterator would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch._prims_common import compute_elementwise_output_strides

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


def pointwise(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    if common is None:
        return None
    tensors, sizes = common
    dtype = torch.bool if name in _CONDITIONS else tensors[0].dtype
    strides = compute_elementwise_output_strides(*(tensor.expand(sizes) for tensor in tensors))
    return strided(sizes, strides, dtype)


def pointwise_in_place(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    target = first_tensor(args)
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
    tensors = (condition.expand(sizes), a.expand(sizes), b.expand(sizes))
    return strided(sizes, compute_elementwise_output_strides(*tensors), a.dtype)
