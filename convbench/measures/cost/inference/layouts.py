"""Meta tensors of a given layout, and the checks that every inference shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Result = Tensor | tuple[Tensor | None, ...] | None
"""A result; None where torch has to say."""


def strided(sizes: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A meta tensor of these strides."""
    return torch.empty_strided(sizes, strides, dtype=dtype, device="meta")


def contiguous(sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A contiguous meta tensor."""
    return torch.empty(sizes, dtype=dtype, device="meta")


def same_float(x: Tensor, *others: Tensor | None) -> bool:
    """One floating dtype all over: nothing to promote, nothing to refuse."""
    return x.dtype.is_floating_point and all(other is None or other.dtype is x.dtype for other in others)


def have_sizes(sizes: Sequence[int], *tensors: Tensor | None) -> bool:
    """Whether each tensor that is given has these sizes."""
    return all(tensor is None or tuple(tensor.shape) == tuple(sizes) for tensor in tensors)


def like(x: Tensor) -> Tensor:
    """A meta tensor of x's layout, which has to be dense."""
    return strided(x.shape, x.stride(), x.dtype)


def is_channels_last(x: Tensor) -> bool:
    """Whether kernels take x as channels last: its strides grow from channels over columns and rows to samples.

    Where strides leave a choice (one channel, one pixel) torch takes the plain order, and so does this.
    Source: c10, ``is_channels_last_strides_2d``.
    """
    if x.dim() != 4 or 0 in x.shape or x.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2, 0):
        step = x.stride(axis)
        if step < least or (axis == 0 and least == x.stride(1)):
            return False
        least = step * x.shape[axis]
    return True


def formatted(sizes: Sequence[int], dtype: torch.dtype, channels_last: bool) -> Tensor:
    """A meta tensor in plain or channels-last order."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(sizes, dtype=dtype, device="meta", memory_format=memory_format)


def asked_for(results: Sequence[Tensor], output_mask: Sequence[bool]) -> Result:
    """The gradients of an output mask."""
    return tuple(result if asked else None for result, asked in zip(results, output_mask, strict=True))
