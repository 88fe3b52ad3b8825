"""Building a module: constructed on its device or on the CPU, its lazy parts given a shape, its weights loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from convbench.case import Case
from convbench.errors import OptionError, TargetError, WeightsError
from convbench.execution.clone import cloning
from convbench.execution.guard import seeded
from convbench.execution.tensors import registered_tensors


def constructed(name: str, construct: Callable[[], nn.Module], seed: int, *, on_meta: bool) -> nn.Module:
    """What ``construct`` gives, initialised by ``seed`` alone; nothing outside of it is changed.

    A constructor that reads values cannot run on meta: it runs on the CPU, and of what it makes the shapes are taken.
    Raises OptionError and TargetError.
    """
    with seeded(seed):
        if not on_meta:
            return _called(name, construct, "cpu")
        try:
            module = _called(name, construct, "meta")
        except (OptionError, TargetError):
            module = _called(name, construct, "cpu")  # where this fails too, it says why
        if all(tensor.is_meta for tensor in registered_tensors(module)):
            return module
        with cloning("meta", values=True) as cloner:
            return cloner.module(module)


def _called(name: str, construct: Callable[[], nn.Module], device: str) -> nn.Module:
    try:
        with torch.device(device):
            module = construct()
    except (ValueError, TypeError, AssertionError) as error:
        text = str(error)
        raise OptionError(text if text.startswith(name) else f"{name}: {text}") from error
    except Exception as error:  # a user's constructor may fail in any way
        raise TargetError(f"{name} could not be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise TargetError(f"{name} gave a {type(module).__name__}, not a torch.nn.Module")
    return module


def prepared(module: nn.Module, case: Case) -> nn.Module:
    """The module with the checkpoint and the transformations that the case asks for.

    The checkpoint may be of the target as it is built or of what a transformation makes of it: it is loaded at the
    first point where it fits.
    """
    misfit = _misfit(module, case.weights)
    for transform in case.transforms:
        from convbench.target.transforms import apply_transform

        module = apply_transform(module, transform)
        if misfit is not None and _misfit(module, case.weights) is None:
            misfit = None
    if misfit is not None:
        raise misfit
    return module


def _misfit(module: nn.Module, weights: str | None) -> WeightsError | None:
    """Load the checkpoint, if there is one; why it does not fit, if so."""
    if weights is None:
        return None
    from convbench.target.weights import load_weights

    try:
        load_weights(module, Path(weights))
    except WeightsError as error:
        return error
    return None
