"""The module that is measured: a frozen, evaluating stand-in that leaves the user's own untouched."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import TargetError

_IMMUTABLE = frozenset({int, float, str, bool, type(None), FunctionType})
UNTRAINED_SCALE = 1e-4
"""A layer scale whose entries all are this small has not been trained; LayerScale starts at 1e-6 to 1e-4."""


def shadow(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in eval mode with frozen parameters that share the original's memory.

    Submodules, hooks and buffers are the copy's own, so that nothing which a forward pass does (a mode, a buffer, an
    attribute that caches a grid) reaches the original. Raises TargetError for a module that cannot be copied.
    """
    try:
        duplicate = _copied(module)
    except Exception as error:  # a user's attribute may refuse in any way
        raise TargetError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}), and its receptive field is "
            "measured on a copy so that the original stays as it is: give a function that builds it instead"
        ) from error
    return duplicate.eval()


def _copied(module: nn.Module) -> nn.Module:
    holders = list(module.modules())
    memo: dict[int, Any] = {id(weight): frozen(weight) for weight in module.parameters()}
    if any(hasattr(type(holder), "__deepcopy__") for holder in holders):
        return copy.deepcopy(module, memo)
    # A module's own dictionaries are copied by hand: deepcopy takes several times as long over them.
    duplicates = [type(holder).__new__(type(holder)) for holder in holders]
    memo |= {id(holder): duplicate for holder, duplicate in zip(holders, duplicates, strict=True)}
    for holder, duplicate in zip(holders, duplicates, strict=True):
        vars(duplicate).update({name: _attribute(value, memo) for name, value in vars(holder).items()})
    return duplicates[0]


def _attribute(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _IMMUTABLE or (kind is tuple and all(type(item) in _IMMUTABLE for item in value)):
        return value
    if kind in (dict, OrderedDict):
        return kind((name, _attribute(item, memo)) for name, item in value.items()) if value else kind()
    if isinstance(value, Tensor) and id(value) not in memo:
        # A buffer, or the computed weight that old-style weight normalisation keeps and deepcopy refuses.
        memo[id(value)] = value.detach().clone()
    return copy.deepcopy(value, memo)


def frozen(weight: nn.Parameter) -> nn.Parameter:
    """A parameter over the same memory that asks for no gradient."""
    return nn.Parameter(weight.detach(), requires_grad=False)


def untrained_scales(module: nn.Module) -> list[str]:
    """Names of the layer scales in ``module`` that still hide what they scale.

    A layer scale is a parameter with one axis longer than one, or a single number, that is no bias;
    untrained means that no entry exceeds 1e-4 in magnitude (a zero-initialised last normalisation included).
    """
    return [name for name, weight in module.named_parameters() if _is_untrained_scale(name, weight)]


def raise_scales(module: nn.Module, value: float) -> list[str]:
    """Give every untrained layer scale of a shadow the value; returns their names."""
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
