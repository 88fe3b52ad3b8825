"""How a forward pass is being run: which of two equal algorithms a block may take."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]


def needs_grad(*tensors: Tensor) -> bool:
    """Whether autograd will ask for the gradient of what is computed from these tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def is_recorded() -> bool:
    """Whether the operators are being recorded to run later: compilation, export, TorchScript tracing."""
    return torch.compiler.is_compiling() or bool(is_tracing())  # type: ignore[no-untyped-call]


def on_cpu(x: Tensor) -> bool:
    """Whether x lies in CPU memory, or on the meta device, which stands for it."""
    return x.device.type in ("cpu", "meta")
