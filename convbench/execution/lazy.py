"""Parameters that wait for a first call to have a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convbench.errors import TargetError
from convbench.execution.guard import guarded
from convbench.execution.tensors import registered_tensors


def is_lazy_module(module: nn.Module) -> bool:
    """Whether a parameter or a buffer has no shape yet."""
    return any(is_lazy(tensor) for tensor in registered_tensors(module))


def materialise(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
    """Give the lazy parameters of ``module`` a shape by one call in evaluation; modes stay. Raises TargetError."""
    modes = {part: part.training for part in module.modules()}
    try:
        with guarded(), torch.no_grad():
            module.eval()(*args, **(kwargs or {}))
    except Exception as error:  # the target's own code runs here
        raise TargetError(
            f"{type(module).__name__} has lazy parameters, and the call that gives them a shape fails: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training
