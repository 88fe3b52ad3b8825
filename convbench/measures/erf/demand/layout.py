"""Where height, width and samples lie among the dimensions of a tensor.

A dimension is a product of factors, so that rows flattened to (N·H·W, C) for a linear layer are still known as such.
Factors of size one are left out: there is nothing of them to slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor
from torch.nn import functional as F

HEIGHT, WIDTH, SAMPLES = 0, 1, 2
SPATIAL = (HEIGHT, WIDTH)

Span = tuple[int, int]
"""Pixels [start, end) along one axis."""
Region = tuple[Span, Span]
"""The spans along height and width."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of a dimension: an axis of the image, the samples, or (axis None) anything else."""

    axis: int | None
    size: int


Dim = tuple[Factor, ...]
Layout = tuple[Dim, ...]


class NotLocal(Exception):  # noqa: N818 - a finding, not a failure: the caller falls back
    """An operator whose output pixel cannot be computed from a box of its input; the message says which and why.

    layouts: of its outputs, where they are known all the same; they have the dtype of its first operand.
    unbounded: whether an output pixel is known to depend on the whole image.
    """

    def __init__(self, message: str, layouts: Sequence[Layout] = (), *, unbounded: bool = False) -> None:
        super().__init__(message)
        self.layouts = layouts
        self.unbounded = unbounded


def plain_dim(size: int) -> Dim:
    """A dimension that holds no axis."""
    return () if size == 1 else (Factor(None, size),)


def plain(sizes: Sequence[int]) -> Layout:
    """The layout of a tensor that has neither height nor width nor samples."""
    return tuple(map(plain_dim, sizes))


def axis_dim(axis: int, size: int) -> Dim:
    """A dimension that is one axis."""
    return () if size == 1 else (Factor(axis, size),)


def shape_of(layout: Layout) -> tuple[int, ...]:
    """Sizes of the whole tensor."""
    return tuple(prod(factor.size for factor in dim) for dim in layout)


def sizes_in(layout: Layout, lengths: Mapping[int, int]) -> list[int]:
    """Sizes of a box of the tensor: ``lengths`` of its axes instead of the whole ones."""
    return [prod(_length(factor, lengths) for factor in dim) for dim in layout]


def axes_of(layout: Layout) -> dict[int, int]:
    """The axes that occur, with their whole sizes."""
    return {factor.axis: factor.size for dim in layout for factor in dim if factor.axis is not None}


def checked(layout: Layout) -> Layout:
    """``layout``, unless an axis occurs twice in it, as between queries and keys. Raises NotLocal."""
    found = [factor.axis for dim in layout for factor in dim if factor.axis is not None]
    if len(found) != len(set(found)):
        raise NotLocal("every position meets every other one", unbounded=True)
    return layout


def is_plain(dim: Dim) -> bool:
    """Whether a dimension holds no axis."""
    return all(factor.axis is None for factor in dim)


def broadcast(layouts: Sequence[Layout]) -> Layout:
    """The layout of an element-wise operator's output. Raises NotLocal where positions meet others."""
    rank = max(map(len, layouts))
    padded = [((),) * (rank - len(layout)) + layout for layout in layouts]
    return checked(tuple(_meet(dims) for dims in zip(*padded, strict=True)))


def aligned(layout: Layout, output: Layout) -> Layout:
    """An operand's layout as its element-wise output sees it: dimensions of full size follow the output's axes."""
    followed = output[len(output) - len(layout) :] if len(layout) <= len(output) else output
    return tuple(() if not dim else out for dim, out in zip(layout, followed, strict=True))


def regroup(layout: Layout, sizes: Sequence[int]) -> Layout:
    """The layout after a view to ``sizes``. Raises NotLocal when it splits an axis."""
    factors = [factor for dim in layout for factor in dim]
    dims: list[Dim] = []
    for size in sizes:
        dim: list[Factor] = []
        while size > 1:
            factor = factors.pop(0)
            if size % factor.size == 0:
                dim.append(factor)
                size //= factor.size
            elif factor.axis is None and factor.size % size == 0:
                dim.append(Factor(None, size))
                factors.insert(0, Factor(None, factor.size // size))
                size = 1
            else:
                raise NotLocal("a view splits or mixes rows or columns")
        dims.append(_merged(dim))
    return tuple(dims)


def narrow(tensor: Tensor, layout: Layout, have: Mapping[int, Span], need: Mapping[int, Span]) -> Tensor:
    """The part ``need`` of a tensor that covers ``have``, along every spatial axis of its layout."""
    ends: dict[int, tuple[int, int]] = {}
    for position, dim in enumerate(layout):
        for place, factor in enumerate(dim):
            if factor.axis not in SPATIAL or have[factor.axis] == need[factor.axis]:
                continue
            (start, end), (low, high) = have[factor.axis], need[factor.axis]
            if len(dim) == 1:
                ends[position] = (start - low, high - end)
                continue
            inner = _inner_sizes(tensor.shape[position], dim, place, have)
            unfolded = tensor.unflatten(position, inner)  # type: ignore[no-untyped-call]
            tensor = unfolded.narrow(position + 1, low - start, high - low).flatten(position, position + 2)
            have = {**have, factor.axis: (low, high)}
    # Unlike that of slicing, the gradient of padding by negative amounts keeps the memory format.
    return F.pad(tensor, pad_list(ends, tensor.dim())) if ends else tensor


def pad_list(ends: Mapping[int, tuple[int, int]], rank: int) -> list[int]:
    """Ends by dimension as ``F.pad`` takes them, last dimension first."""
    return [end for dim in range(rank - 1, min(ends) - 1, -1) for end in ends.get(dim, (0, 0))]


def _inner_sizes(size: int, dim: Dim, place: int, have: Mapping[int, Span]) -> list[int]:
    """A flattened dimension as (before, the factor at ``place``, after)."""
    lengths = {axis: end - start for axis, (start, end) in have.items()}
    length = _length(dim[place], lengths)
    after = prod(_length(factor, lengths) for factor in dim[place + 1 :])
    return [size // (length * after), length, after]


def _length(factor: Factor, lengths: Mapping[int, int]) -> int:
    return factor.size if factor.axis is None else lengths[factor.axis]


def _meet(dims: Sequence[Dim]) -> Dim:
    """The output's dimension where operands with these meet."""
    largest = [dim for dim in dims if dim]
    if len({prod(factor.size for factor in dim) for dim in largest}) > 1:
        raise NotLocal("operands of different sizes meet")
    labelled = {dim for dim in largest if not is_plain(dim)}
    if len(labelled) > 1:
        raise NotLocal("different axes of the image meet element by element")
    if labelled:
        (result,) = labelled
        if any(dim != result and any(factor.axis == SAMPLES for factor in result) for dim in largest):
            # The recording has two samples, the evaluation any number.
            raise NotLocal("a constant differs from sample to sample")
        return result
    return largest[0] if largest else ()


def _merged(dim: Sequence[Factor]) -> Dim:
    """Neighbouring factors without an axis as one."""
    merged: list[Factor] = []
    for factor in dim:
        if merged and factor.axis is None and merged[-1].axis is None:
            merged[-1] = Factor(None, merged[-1].size * factor.size)
        else:
            merged.append(factor)
    return tuple(merged)
