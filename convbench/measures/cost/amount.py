"""What a cost rule reads (shapes) and what it gives (amounts)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch

from convbench.measures.cost.sparse import Stored

Zeros = tuple[int, ...]
"""Bits for each axis of a tensor: bit i of an axis says that everything with index i there is zero."""


class Shape(tuple[int, ...]):
    """A tensor as a cost rule sees it: its sizes, with the dtype and the number of elements that memory holds.

    ``stored`` is less than ``numel()`` where a dimension was expanded: such a tensor is read once a stored element.
    ``sparse`` is what a sparse tensor keeps, None for others; ``zeros`` where padding put zeros, if it did.
    """

    dtype: torch.dtype
    stored: int
    sparse: Stored | None
    zeros: Zeros | None = None

    def __new__(
        cls, sizes: Iterable[int], dtype: torch.dtype = torch.float32, stored: int | None = None,
        sparse: Stored | None = None,
    ) -> Shape:  # fmt: skip
        shape = super().__new__(cls, sizes)
        shape.dtype = dtype
        shape.stored = prod(shape) if stored is None else stored
        shape.sparse = sparse
        return shape

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Shape:
        """The shape of any strided or sparse tensor; other layouts count as fully stored."""
        sizes = tensor.shape
        if tensor.layout is not torch.strided:
            return cls(sizes, tensor.dtype, sparse=Stored.of(tensor))
        stored = prod(size for size, step in zip(sizes, tensor.stride(), strict=True) if step)
        return cls(sizes, tensor.dtype, 0 if 0 in sizes else stored)

    def numel(self) -> int:
        """Number of elements as the operator sees them; of a sparse tensor those that it keeps."""
        return prod(self) if self.sparse is None else self.sparse.nonzeros

    @property
    def nbytes(self) -> int:
        """Bytes in memory: stored elements times the size of one; a sparse tensor's indices and values."""
        return self.sparse.nbytes if self.sparse is not None else self.stored * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        """True for real and complex floating-point elements."""
        return self.dtype.is_floating_point or self.dtype.is_complex


class Packed(NamedTuple):
    """The packed weights of a quantised layer; the last four say nothing for a linear one."""

    weight: Shape
    bias: Shape | None
    stride: Sequence[int] = ()
    padding: Sequence[int] = ()
    dilation: Sequence[int] = ()
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Amount:
    """What one call of an operator costs.

    macs: multiply–accumulates of convolutions and matrix products, biases not counted.
    sampling_macs: multiply–accumulates of interpolated sampling (weights times neighbours).
    other_flops: floating-point operations besides the two of each multiply–accumulate.
    padding_macs: the part of ``macs`` that meets padding: a factor is a padded zero, or the result is cropped.
    extra_bytes: traffic beyond "inputs read once, outputs written once" (running statistics written back).
    touched: elements of its first argument that an in-place form writes; None: all of them.
    updates: the elements touched are read before they are written.
    """

    macs: int = 0
    sampling_macs: int = 0
    other_flops: int = 0
    padding_macs: int = 0
    extra_bytes: int = 0
    touched: int | None = None
    updates: bool = False

    @property
    def flops(self) -> int:
        """Every floating-point operation: two for each multiply–accumulate, and the others."""
        return 2 * (self.macs + self.sampling_macs) + self.other_flops


def shapes_in(value: object) -> Iterator[Shape]:
    """Every shape in an argument or a result, lists and tuples entered."""
    if isinstance(value, Shape):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from shapes_in(item)


def first_shape(value: object) -> Shape:
    """The first tensor of a result; an empty shape of no elements if there is none."""
    return next(shapes_in(value), Shape((0,)))
