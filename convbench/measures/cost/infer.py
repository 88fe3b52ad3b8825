"""Results of common operators on meta tensors, without running them.

torch's own meta kernels of element-wise operators, norms, means and concatenations are written in Python: the first
one imports torch._dynamo (seconds), and each takes tens to hundreds of microseconds. Every function here gives the
result's sizes, strides and dtype in the plain cases (one floating dtype, valid sizes) and None in all others, which
then go to torch: for an error message, a type promotion, an odd layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor
from torch._prims_common import compute_elementwise_output_strides

from convbench.measures.cost.rules.elementwise import ARITHMETIC, COMPOSED
from convbench.measures.cost.rules.gradients import GRADIENTS

Result = Tensor | tuple[Tensor | None, ...] | None

_CONDITIONS = frozenset("eq ne lt le gt ge".split())
_SEVERAL_RESULTS_OR_SIZES = {
    "max.other", "min.other", "log_sigmoid_forward", "log_sigmoid_backward", "glu", "glu_backward", "native_dropout",
    "_fused_dropout", "native_dropout_backward", "rrelu_with_noise", "rrelu_with_noise_backward", "polar", "isnan", "isinf",
    "isfinite", "isposinf", "isneginf", "signbit", "polygamma", "copysign", "ldexp", "_masked_scale",
}  # fmt: skip
_POINTWISE = (
    {*ARITHMETIC, *COMPOSED, *GRADIENTS, "clamp", "addcmul", "addcdiv", "elu", "softplus", "gelu", "gelu_backward",
     "elu_backward", "softplus_backward"} - _SEVERAL_RESULTS_OR_SIZES
)  # fmt: skip
_HARMLESS_OPTIONS = frozenset(("alpha", "value", "approximate", "min", "max", "rounding_mode"))
_OVERWRITES = frozenset(
    f"aten::{name}_" for name in "zero fill bernoulli uniform normal random exponential log_normal cauchy geometric".split()
)


def infer(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    """The result of the operator ``namespace::name``, or None where torch has to say."""
    namespace, _, base = name.partition("::")
    if namespace != "aten":
        return None
    if name in _OVERWRITES:
        return _first(args)
    if base in _POINTWISE:
        return _pointwise(base, args, kwargs)
    if base[:-1] in _POINTWISE and base.endswith("_"):
        return _pointwise_in_place(base[:-1], args, kwargs)
    special = _SPECIAL.get(base)
    return special(*args, **kwargs) if special is not None else None


def _first(args: Sequence[object]) -> Tensor | None:
    return args[0] if isinstance(args[0], Tensor) else None


def _empty(sizes: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(sizes, strides, dtype=dtype, device="meta")


def _contiguous(sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(sizes, dtype=dtype, device="meta")


def _common(args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[list[Tensor], torch.Size] | None:
    """The tensors of an element-wise call and their broadcast sizes, if they share one floating dtype."""
    if not _HARMLESS_OPTIONS.issuperset(kwargs) or any(isinstance(value, (Tensor, complex)) for value in kwargs.values()):
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
            sizes = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        except RuntimeError:
            return None
    return tensors, sizes


def _pointwise(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    if common is None:
        return None
    tensors, sizes = common
    dtype = torch.bool if name in _CONDITIONS else tensors[0].dtype
    strides = compute_elementwise_output_strides(*(tensor.expand(sizes) for tensor in tensors))
    return _empty(sizes, strides, dtype)


def _pointwise_in_place(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    common = _common(args, kwargs)
    target = _first(args)
    return target if common is not None and target is not None and target.shape == common[1] else None


def _same_dtype(x: Tensor, *others: Tensor | None) -> bool:
    return x.dtype.is_floating_point and all(other is None or other.dtype is x.dtype for other in others)


def _have(sizes: Sequence[int], *tensors: Tensor | None) -> bool:
    return all(tensor is None or tuple(tensor.shape) == tuple(sizes) for tensor in tensors)


def _is_packed(x: Tensor) -> bool:
    """Contiguous, or channels last: layouts that kernels keep."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, training: bool, *_: object
) -> Result:
    if x.dim() < 2 or not _is_packed(x) or not _same_dtype(x, weight, bias, mean, var):
        return None
    if not _have(x.shape[1:2], weight, bias, mean, var) or (mean is None and not training) or (training and x.numel() == x.shape[1]):
        return None
    saved = x.shape[1:2] if training else (0,)
    return torch.empty_like(x), _contiguous(saved, x.dtype), _contiguous(saved, x.dtype)


def _stored_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, *_: object
) -> Result:
    return _batch_norm(x, weight, bias, mean, var, False)


def _batch_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor | None, var: Tensor | None, _save_mean: Tensor | None,
    _save_invstd: Tensor | None, _train: bool, _eps: float, output_mask: Sequence[bool],
) -> Result:  # fmt: skip
    if not _is_packed(x) or grad.shape != x.shape or not _same_dtype(x, grad, weight, mean, var):
        return None
    results = (torch.empty_like(x), _contiguous(x.shape[1:2], x.dtype), _contiguous(x.shape[1:2], x.dtype))
    return tuple(result if asked else None for result, asked in zip(results, output_mask, strict=True))


def _layer_norm(
    x: Tensor, normalized: Sequence[int], weight: Tensor | None, bias: Tensor | None, _eps: float
) -> Result:
    rows = x.dim() - len(normalized)
    if rows < 0 or not _have(normalized, weight, bias) or tuple(x.shape[rows:]) != tuple(normalized):
        return None
    if not _same_dtype(x, weight, bias):
        return None
    statistics = (*x.shape[:rows], *(1 for _ in normalized))
    return _contiguous(x.shape, x.dtype), _contiguous(statistics, x.dtype), _contiguous(statistics, x.dtype)


def _layer_norm_backward(
    grad: Tensor, x: Tensor, normalized: Sequence[int], _mean: Tensor, _rstd: Tensor, weight: Tensor | None,
    bias: Tensor | None, output_mask: Sequence[bool],
) -> Result:  # fmt: skip
    if not _same_dtype(x, grad, weight, bias) or grad.shape != x.shape:
        return None
    results = (_contiguous(x.shape, x.dtype), _contiguous(normalized, x.dtype), _contiguous(normalized, x.dtype))
    return tuple(result if asked else None for result, asked in zip(results, output_mask, strict=True))


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, _HxW: int, groups: int, _eps: float
) -> Result:
    if not x.is_contiguous() or not _same_dtype(x, weight, bias) or not _have((C,), weight, bias) or C % groups:
        return None
    return torch.empty_like(x), _contiguous((N, groups), x.dtype), _contiguous((N, groups), x.dtype)


def _reduction(x: Tensor, dims: Sequence[int] | int | None = None, keepdim: bool = False, **options: object) -> Result:
    if options or not x.is_contiguous() or not x.dtype.is_floating_point:
        return None
    rank = x.dim()
    axes = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    if any(not -rank <= axis < rank for axis in axes):
        return None
    reduced = {axis % rank for axis in axes}
    if keepdim:
        return _contiguous([1 if axis in reduced else size for axis, size in enumerate(x.shape)], x.dtype)
    return _contiguous([size for axis, size in enumerate(x.shape) if axis not in reduced], x.dtype)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Result:
    first = tensors[0]
    rank = first.dim()
    if not rank or not -rank <= dim < rank:
        return None
    axis = dim % rank
    rest = (*first.shape[:axis], *first.shape[axis + 1 :])
    for tensor in tensors:
        sizes = tensor.shape
        if tensor.dim() != rank or tensor.dtype is not first.dtype or (*sizes[:axis], *sizes[axis + 1 :]) != rest:
            return None
    sizes = [*first.shape[:axis], sum(tensor.shape[axis] for tensor in tensors), *first.shape[axis + 1 :]]
    if all(tensor.is_contiguous() for tensor in tensors):
        return _contiguous(sizes, first.dtype)
    if rank == 4 and all(
        tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous() for tensor in tensors
    ):
        return torch.empty(sizes, dtype=first.dtype, device="meta", memory_format=torch.channels_last)
    return None


def _where(condition: Tensor, a: object = None, b: object = None) -> Result:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.dtype is not b.dtype or condition.dtype is not torch.bool:
        return None
    try:
        sizes = torch.broadcast_shapes(condition.shape, a.shape, b.shape)
    except RuntimeError:
        return None
    tensors = (condition.expand(sizes), a.expand(sizes), b.expand(sizes))
    return _empty(sizes, compute_elementwise_output_strides(*tensors), a.dtype)


_SPECIAL: dict[str, Callable[..., Result]] = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _stored_batch_norm,
    "native_batch_norm_backward": _batch_norm_backward,
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_group_norm": _group_norm,
    "mean": _reduction,
    "sum": _reduction,
    "amax": _reduction,
    "cat": _cat,
    "where": _where,
}
