"""Layer scales and weights that hide what they scale."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

UNTRAINED_SCALE = 1e-4
"""A layer scale whose entries all are this small has not been trained; LayerScale starts at 1e-6 to 1e-4."""


def untrained_scales(module: nn.Module) -> list[str]:
    """Names of the layer scales in ``module`` that still hide what they scale.

    A layer scale is a parameter with one axis longer than one, or a single number, that is no bias;
    untrained means that no entry exceeds 1e-4 in magnitude (a zero-initialised last normalisation included).
    """
    return [name for name, weight in module.named_parameters() if _is_untrained_scale(name, weight)]


def raise_scales(module: nn.Module, value: float) -> list[str]:
    """Give every untrained layer scale of a clone the value; returns their names."""
    names = untrained_scales(module)
    for name in names:
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        setattr(holder, leaf, nn.Parameter(torch.full_like(getattr(holder, leaf), value), requires_grad=False))
    return names


def zero_weights(module: nn.Module) -> list[str]:
    """Names of the kernels and matrices, parameters or buffers, that are zero throughout."""
    return [name for name, tensor in _tensors(module) if tensor.dim() >= 2 and tensor.numel() and not tensor.any()]


def _is_untrained_scale(name: str, weight: Tensor) -> bool:
    is_vector = weight.numel() == max(weight.shape, default=1)
    is_bias = "bias" in name.rpartition(".")[2]
    return is_vector and not is_bias and weight.numel() > 0 and weight.abs().max().item() <= UNTRAINED_SCALE


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
