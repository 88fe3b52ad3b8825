"""The number formats of a module: which it has, and what a conversion changes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convbench.execution.tensors import registered_tensors

_COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


def converted(module: nn.Module, dtype: torch.dtype | None, device: str | torch.device | None = None) -> nn.Module:
    """``module`` itself, with floating tensors in ``dtype`` and complex ones in the complex format of that width.

    bfloat16 has none, and goes with complex64. Whole numbers keep their format; None changes none.
    """

    def convert(tensor: Tensor) -> Tensor:
        wanted = None
        if dtype is not None and tensor.is_floating_point():
            wanted = dtype
        elif dtype is not None and tensor.is_complex():
            wanted = _COMPLEX.get(dtype, torch.complex64)
        return tensor.to(device or tensor.device, wanted or tensor.dtype)

    if all(convert(tensor) is tensor for tensor in registered_tensors(module)):
        return module  # not every layout and not every scripted part takes its tensors anew
    applied: nn.Module = module._apply(convert)  # type: ignore[no-untyped-call]
    return applied


def floating_dtypes(module: nn.Module) -> tuple[torch.dtype, ...]:
    """The floating formats of the parameters and buffers, in the order in which they come; complex ones by width."""
    return tuple(dict.fromkeys(_formats(module)))


def dtype_names(module: nn.Module) -> str:
    """The floating and complex formats by name, joined by ``+``; float32 of a module without parameters."""
    kinds = (tensor.dtype for tensor in registered_tensors(module) if tensor.is_floating_point() or tensor.is_complex())
    return "+".join(sorted({str(kind).removeprefix("torch.") for kind in kinds})) or "float32"


def own_dtype(module: nn.Module) -> torch.dtype:
    """The format in which the module takes its input: that of its first floating parameter or buffer, else torch's."""
    return next(_formats(module), torch.get_default_dtype())


def _formats(module: nn.Module) -> Iterator[torch.dtype]:
    for tensor in registered_tensors(module):
        if tensor.is_floating_point():
            yield tensor.dtype
        elif tensor.is_complex():
            yield tensor.dtype.to_real()
