"""Circular padding as an index along each axis: torch writes it piece by piece, which boxes do not follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class _Circular(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.pad and (kwargs.get("mode") == "circular" or "circular" in args[2:3]):
            return _padded(args[0], args[1] if len(args) > 1 else kwargs["pad"])
        return func(*args, **kwargs)


def _padded(x: Tensor, pad: Sequence[int]) -> Tensor:
    """``x`` with its last dimensions continued periodically; pad: as ``F.pad`` takes it."""
    for place in range(len(pad) // 2):
        dim, (low, high) = x.dim() - 1 - place, pad[2 * place : 2 * place + 2]
        if low or high:
            x = x.index_select(dim, torch.arange(-low, x.shape[dim] + high) % x.shape[dim])
    return x


@contextmanager
def circular_as_indexing() -> Iterator[None]:
    """Let ``F.pad`` pad circularly by ``index_select``."""
    with _Circular():
        yield
