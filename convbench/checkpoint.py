"""Checkpoints of strangers: read weights only, unwrap the usual containers, and say exactly what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import WeightsError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema", "module", "net", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 5


def load_weights(module: nn.Module, path: Path) -> None:
    """Load ``path`` into ``module``, strictly: every key and every shape must fit.

    path: ``.safetensors``, or any file that torch.save wrote; no code in it is run.
    Raises WeightsError naming the missing keys, the unexpected ones and the shapes that differ.
    """
    state = read_state(path)
    own = module.state_dict()
    state = _without_prefix(state, own)
    state = {key: value for key, value in state.items() if not key.endswith(("total_ops", "total_params"))}
    try:
        with torch.no_grad():
            problems = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {_mismatch(own, state) or error}") from error
    if problems.missing_keys or problems.unexpected_keys:
        parts = [_named("missing", problems.missing_keys), _named("unexpected", problems.unexpected_keys)]
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {'; '.join(filter(None, parts))}")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, out of whatever container holds them. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than weights, and loading it would run code: save model.state_dict() and give that file"
        ) from error
    except Exception as error:  # a damaged file fails in many ways
        raise WeightsError(f"{path} cannot be read as a checkpoint: {type(error).__name__}: {error}") from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            return _tensors(content[name], path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors; its keys: {', '.join(map(str, list(content)[:_SHOWN])) or 'none'}"
        )
    return tensors


def _without_prefix(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop wrappers' prefixes (DataParallel, torch.compile) unless the module's own keys have them."""
    for prefix in _PREFIXES:
        wrapped = state and all(key.startswith(prefix) for key in state)
        if wrapped and not any(key.startswith(prefix) for key in own):
            return _without_prefix({key.removeprefix(prefix): value for key, value in state.items()}, own)
    return state


def _mismatch(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    wrong = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    return "; ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "")
    return f"{len(keys)} keys {what} ({shown})"
