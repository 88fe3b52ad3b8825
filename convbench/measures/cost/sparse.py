"""Sparse tensors as a cost rule sees them: their stored elements, and the terms of a product of two of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SPARSE_LAYOUTS = frozenset(
    (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """What a sparse tensor keeps.

    nonzeros: elements kept, zeros that are kept and whole blocks included. nbytes: of their values and indices.
    tensor: itself, for the terms of a product with another sparse tensor, which depend on where elements are.
    """

    nonzeros: int
    nbytes: int
    tensor: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> Stored | None:
        """The elements that a sparse tensor keeps; None for other layouts, and on meta, where there are none."""
        if tensor.layout not in SPARSE_LAYOUTS or tensor.is_meta:
            return None
        parts = parts_of(tensor)
        return cls(parts[-1].numel(), sum(part.numel() * part.element_size() for part in parts), tensor)


def parts_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that a sparse one consists of: indices, and values last."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def terms_of_product(a: Tensor, b: Tensor) -> int:
    """Σ over k of the elements in column k of ``a`` times those in row k of ``b``: two sparse matrices' products."""
    columns, rows = (torch.bincount(_coordinates(x, axis), minlength=a.shape[1]) for x, axis in ((a, 1), (b, 0)))
    return int((columns * rows).sum())


def _coordinates(matrix: Tensor, axis: int) -> Tensor:
    plain = matrix if matrix.layout is torch.sparse_coo else matrix.to_sparse()
    return plain._indices()[axis]
