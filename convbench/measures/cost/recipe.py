"""How to give the result of a call whose shapes were seen before, without running it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.measures.cost.pricing import Operator

_Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Fresh meta tensors of known layout, or one of the arguments itself (an in-place operator)."""

    layouts: tuple[_Layout | None, ...]
    several: bool
    position: int | None = None

    @classmethod
    def of(cls, operator: Operator, out: object, args: Sequence[object], key: Sequence[object]) -> Recipe | None:
        """The recipe of a result on meta tensors; None where the operator has to run every time.

        Views, results in ``out=`` and changes of an argument's own sizes cannot be remade from layouts.
        """
        if operator.view or operator.composite or operator.targets:
            return None
        for position, arg in enumerate(args):
            if isinstance(arg, Tensor) and out is arg:
                unchanged = operator.row.writes and key[position] == (arg.shape, arg.dtype, arg.stride())
                return cls((), False, position) if unchanged else None
        several = isinstance(out, (tuple, list))
        results = list(out) if isinstance(out, (tuple, list)) else [out]
        if operator.written:
            return None
        layouts: list[_Layout | None] = []
        for result in results:
            if isinstance(result, Tensor) and _is_plain(result):
                layouts.append((result.shape, result.stride(), result.dtype))
            elif result is None:
                layouts.append(None)
            else:
                return None
        return cls(tuple(layouts), several)

    def make(self, args: Sequence[object]) -> object:
        """The result of this call."""
        if self.position is not None:
            return args[self.position]
        results = [None if layout is None else _fresh(layout) for layout in self.layouts]
        return tuple(results) if self.several else results[0]


def _fresh(layout: _Layout) -> Tensor:
    sizes, strides, dtype = layout
    return torch.empty_strided(sizes, strides, dtype=dtype, device="meta")


def _is_plain(result: Tensor) -> bool:
    """A dense meta tensor of its own, from the start of its storage, without lazy conjugation."""
    return (
        type(result) is Tensor
        and result.is_meta
        and result.layout is torch.strided
        and bool(result.storage_offset() == 0)
        and not result.is_conj()
        and not result.is_neg()
    )
