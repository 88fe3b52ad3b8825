"""Calls of torch that operators alone do not tell a recording, done in a way that it can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_META = torch.device("meta")
_FROM_DATA = frozenset({torch.tensor, torch.as_tensor, torch.asarray})


class _Followed(TorchFunctionMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.pad and (kwargs.get("mode") == "circular" or "circular" in args[2:3]):
            return _padded(args[0], args[1] if len(args) > 1 else kwargs["pad"])
        # Of data for the meta device torch keeps the shape alone, before any operator is seen.
        on_meta = torch.device(kwargs.get("device") or "cpu") == _META
        if func in _FROM_DATA and on_meta and not isinstance(args[0], Tensor):
            return func(*args, **{**kwargs, "device": self._device})
        if func is Tensor.new_tensor:
            like, data = args[0], args[1] if len(args) > 1 else kwargs.pop("data")
            device = torch.device(kwargs.pop("device", None) or like.device)
            kwargs = {"dtype": like.dtype, **kwargs, "device": self._device if device == _META else device}
            return torch.tensor(data, **kwargs)
        return func(*args, **kwargs)


def _padded(x: Tensor, pad: Sequence[int]) -> Tensor:
    """``x`` with its last dimensions continued periodically; pad: as ``F.pad`` takes it."""
    for place in range(len(pad) // 2):
        dim, (low, high) = x.dim() - 1 - place, pad[2 * place : 2 * place + 2]
        if low or high:
            x = x.index_select(dim, torch.arange(-low, x.shape[dim] + high) % x.shape[dim])
    return x


@contextmanager
def followed(device: torch.device) -> Iterator[None]:
    """Let ``F.pad`` pad circularly by ``index_select``, and tensors made of numbers hold them on ``device``.

    A module that asks for them beside its input asks for the meta device while it is recorded.
    """
    with _Followed(device):
        yield
