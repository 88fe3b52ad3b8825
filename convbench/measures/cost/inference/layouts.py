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


def is_channels_last(x: Tensor) -> bool:
    """Channels last and in no sense contiguous."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def asked_for(results: Sequence[Tensor], output_mask: Sequence[bool]) -> Result:
    """The gradients of an output mask."""
    return tuple(result if asked else None for result, asked in zip(results, output_mask, strict=True))
