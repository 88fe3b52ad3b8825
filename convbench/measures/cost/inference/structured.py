"""Results of products, convolutions, reductions and concatenations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convbench.measures.cost.inference.layouts import (
    Result,
    asked_for,
    contiguous,
    have_sizes,
    is_channels_last,
    same_float,
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


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Result:  # fmt: skip
    rank = weight.dim() - 2
    if rank < 1 or x.dim() != rank + 2 or not same_float(x, weight, bias) or 0 in x.shape or groups < 1:
        return None
    if not (x.is_contiguous() and weight.is_contiguous()):
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
    return contiguous((x.shape[0], channels, *sizes), x.dtype) if min(sizes) > 0 else None


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Sequence[int] | None, *rest: object
) -> Result:
    output_mask = rest[-1]
    if not isinstance(output_mask, (list, tuple)) or not same_float(grad, x, weight):
        return None
    if not all(tensor.is_contiguous() for tensor in (x, weight)) or (output_mask[2] and not bias_sizes):
        return None
    results = (contiguous(x.shape, x.dtype), contiguous(weight.shape, x.dtype), contiguous(bias_sizes or (0,), x.dtype))
    return asked_for(results, output_mask)


def _reduction(x: Tensor, dims: Sequence[int] | int | None = None, keepdim: bool = False, **options: object) -> Result:
    if options or not x.is_contiguous() or not x.dtype.is_floating_point:
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
    if all(tensor.is_contiguous() for tensor in tensors):
        return contiguous(joined, first.dtype)
    if all(is_channels_last(tensor) for tensor in tensors):
        return torch.empty(joined, dtype=first.dtype, device="meta", memory_format=torch.channels_last)
    return None


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
}
