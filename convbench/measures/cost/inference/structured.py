"""Results of products, convolutions, reductions and concatenations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convbench.measures.cost.inference.layouts import (
    Result,
    asked_for,
    contiguous,
    formatted,
    have_sizes,
    is_channels_last,
    same_float,
    strided,
)


def _matrix_product(a: Tensor, b: Tensor) -> Result:
    if not same_float(a, b) or a.dim() != b.dim() or a.dim() < 2:
        return None
    if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        return None
    return contiguous((*a.shape[:-1], b.shape[-1]), a.dtype)


def _added_product(added: Tensor, a: Tensor, b: Tensor, **_scales: object) -> Result:
    out = _matrix_product(a, b)
    if not isinstance(out, Tensor) or added.dtype is not a.dtype or added.dim() > out.dim():
        return None
    fits = all(size in (1, wanted) for size, wanted in zip(reversed(added.shape), reversed(out.shape), strict=False))
    return out if fits else None


def _is_packed(x: Tensor) -> bool:
    return x.is_contiguous() or is_channels_last(x)


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Result:  # fmt: skip
    rank = weight.dim() - 2
    if rank < 1 or x.dim() != rank + 2 or not same_float(x, weight, bias) or 0 in x.shape or groups < 1:
        return None
    if not (_is_packed(x) and _is_packed(weight)):
        return None
    filters = weight.shape[0]
    into, channels = (filters, weight.shape[1] * groups) if transposed else (weight.shape[1] * groups, filters)
    if x.shape[1] != into or filters % groups or not have_sizes((channels,), bias):
        return None
    steps, pads, gaps, more = (
        tuple(item) * rank if len(item) == 1 else tuple(item) for item in (stride, padding, dilation, output_padding)
    )
    if not len(steps) == len(pads) == len(gaps) == rank or min(steps) < 1 or min(gaps) < 1 or min(pads) < 0:
        return None
    sizes = []
    for axis in range(rank):
        reach = gaps[axis] * (weight.shape[axis + 2] - 1)
        if transposed:
            size = (x.shape[axis + 2] - 1) * steps[axis] - 2 * pads[axis] + reach + more[axis] + 1
        else:
            size = (x.shape[axis + 2] + 2 * pads[axis] - reach - 1) // steps[axis] + 1
        sizes.append(size)
    if min(sizes) <= 0:
        return None
    return formatted((x.shape[0], channels, *sizes), x.dtype, is_channels_last(x) or is_channels_last(weight))


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Sequence[int] | None, *rest: object
) -> Result:
    output_mask = rest[-1]
    if not isinstance(output_mask, (list, tuple)) or not same_float(grad, x, weight):
        return None
    if not (_is_packed(x) and _is_packed(weight)) or (output_mask[2] and not bias_sizes):
        return None
    channels_last = is_channels_last(x) or is_channels_last(weight)
    results = (
        formatted(x.shape, x.dtype, channels_last),
        formatted(weight.shape, x.dtype, channels_last),
        contiguous(bias_sizes or (0,), x.dtype),
    )
    return asked_for(results, output_mask)


def _reduction(x: Tensor, dims: Sequence[int] | int | None = None, keepdim: bool = False, **options: object) -> Result:
    if options or not x.dtype.is_floating_point:
        return None
    rank = x.dim()
    axes = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    if any(not -rank <= axis < rank for axis in axes):
        return None
    reduced = {axis % rank for axis in axes}
    if keepdim:
        return contiguous([1 if axis in reduced else size for axis, size in enumerate(x.shape)], x.dtype)
    return contiguous([size for axis, size in enumerate(x.shape) if axis not in reduced], x.dtype)


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
    joined = [*first.shape[:axis], sum(tensor.shape[axis] for tensor in tensors), *first.shape[axis + 1 :]]
    return formatted(joined, first.dtype, all(is_channels_last(tensor) for tensor in tensors))


def _max_pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,), ceil_mode: bool = False,
) -> Result:  # fmt: skip
    if x.dim() != 4 or ceil_mode or not x.dtype.is_floating_point:
        return None
    sizes = list(x.shape[:2])
    for axis in range(2):
        window, step, pad, gap = (item[axis % len(item)] for item in (kernel, stride or kernel, padding, dilation))
        size = (x.shape[axis + 2] + 2 * pad - gap * (window - 1) - 1) // step + 1
        if size < 1 or pad > window // 2:
            return None
        sizes.append(size)
    channels_last = is_channels_last(x)
    return formatted(sizes, x.dtype, channels_last), formatted(sizes, torch.int64, channels_last)


def _max_pool_backward(_grad: Tensor, x: Tensor, *_: object) -> Result:
    return formatted(x.shape, x.dtype, is_channels_last(x)) if x.dim() == 4 else None


def _clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Result:
    if memory_format in (torch.contiguous_format, torch.channels_last):
        return torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=memory_format)
    return strided(x.shape, x.stride(), x.dtype) if x.is_contiguous() or is_channels_last(x) else None


INFERENCES: dict[str, Callable[..., Result]] = {
    "mm": _matrix_product,
    "bmm": _matrix_product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "mean": _reduction,
    "sum": _reduction,
    "amax": _reduction,
    "cat": _cat,
    "clone": _clone,
    "max_pool2d_with_indices": _max_pool,
    "max_pool2d_with_indices_backward": _max_pool_backward,
}
