"""Checkpoints of strangers: read weights only, unwrap the usual containers, and say exactly what does not fit."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convbench.errors import WeightsError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema", "module", "net", "params")
_COUNTERS = ("total_ops", "total_params")
"""Buffers that a widespread profiler leaves behind in modules, and so in checkpoints."""
_SHOWN = 5


def load_weights(module: nn.Module, path: Path) -> None:
    """Load ``path`` into ``module``, strictly: every key and every shape must fit.

    path: ``.safetensors``, or any file that torch.save wrote; no code in it is run.
    Raises WeightsError naming the missing keys, the unexpected ones and the shapes that differ.
    """
    state = _without_prefix(read_state(path), module.state_dict())
    wrong: dict[str, str] = {}
    missing, unexpected = _load(module, state, wrong)
    parts = [
        _named("of another shape", list(wrong.values())),
        _named("missing", missing),
        _named("unexpected", unexpected),
    ]
    if any(parts):
        raise WeightsError(f"{path} does not fit {type(module).__name__}: {'; '.join(filter(None, parts))}")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, out of whatever container holds them. Raises WeightsError."""
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "a pipe or a device"
        raise WeightsError(f"{path}: {f'{kind}, not a checkpoint' if path.exists() else 'no such checkpoint'}")
    _refuse_what_stands_in_for_one(path)
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd files, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise WeightsError(f"{path} {_why_not_read(path, error)}") from error
    return _tensors(content, path)


def _why_not_read(path: Path, error: Exception) -> str:
    if _is_cut(path):
        return "is cut short: its archive has no end; fetch it again"
    beyond = re.search(r"GLOBAL (\S+)", str(error)) or re.search("Unsupported (?:class|global)", str(error))
    if isinstance(error, pickle.UnpicklingError) and beyond:
        named = f" ({beyond.group(1)[:100]})" if beyond.groups() else ""
        return (
            f"holds more than weights{named}, and loading it could run code: where you trust it, load it yourself, "
            "torch.save its state_dict() alone, and give that file"
        )
    reason = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"cannot be read as a checkpoint: {type(error).__name__}: {reason[:200]}"


def _refuse_what_stands_in_for_one(path: Path) -> None:
    """Say of a file that holds no checkpoint at all what it is: torch would only say what its reader stumbled over."""
    with path.open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise WeightsError(f"{path} is empty: was its download interrupted?")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is the pointer of a git-LFS file, not the file: fetch it with `git lfs pull`")
    if head[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{path} is a web page, not a checkpoint: the download gave an error or asks for a login")
    if (
        path.suffix.lower() != ".safetensors"
        and not head.startswith((b"PK\x03\x04", b"\x80", b"\x8a"))
        and _is_text(head)
    ):
        line = head.decode(errors="replace").splitlines()[0]
        raise WeightsError(f"{path} is text, not a checkpoint; it begins {line[:60]!r}")


def _is_cut(path: Path) -> bool:
    """Whether it begins as an archive, which every checkpoint since torch 1.6 is, and does not end as one."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)


def _harmless() -> list[Any]:
    """What training scripts save beside weights and whose construction runs nothing: settings, paths, scalars."""
    scalars = [type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")]
    reconstruct: Any = np.float64(0).__reduce__()[0]
    return [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.dtype, reconstruct, *scalars]


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in _CONTAINERS:  # a file may nest them, and may, if it is meant to, nest one in itself
        inner = [content[name] for name in _CONTAINERS if isinstance(content, Mapping) and name in content]
        inner = [value for value in inner if isinstance(value, Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(str(key)[:60] for key in list(content)[:_SHOWN]) or "none"
        raise WeightsError(f"{path} holds no tensors by name; its keys: {keys}")
    return {key: value for key, value in tensors.items() if not key.endswith(_COUNTERS)}


def _without_prefix(state: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Drop what wrappers (DataParallel, torch.compile, a training framework) put before every key.

    A first word that all keys share is dropped where the module has no such key, if then some key is the module's.
    """
    own, stripped = set(own), state
    while stripped and not own & stripped.keys():
        prefix = next(iter(stripped)).partition(".")[0] + "."
        if not all(key.startswith(prefix) for key in stripped):
            return state
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _load(module: nn.Module, state: Mapping[str, Tensor], wrong: dict[str, str]) -> tuple[list[str], list[str]]:
    """Load what fits; returns the missing and the unexpected keys, and adds those of another shape to ``wrong``."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*non-meta parameter.*no-op")  # shapes are all that meta holds
            problems = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        misfits = _misfits(str(error)) or {"": str(error)}
        wrong |= misfits
        if not misfits.keys() & state.keys():  # no size mismatch, or under keys that the module renames as it loads
            return [], []
        missing, unexpected = _load(module, {key: v for key, v in state.items() if key not in misfits}, wrong)
        return [key for key in missing if key not in misfits], unexpected
    return problems.missing_keys, problems.unexpected_keys


def _misfits(message: str) -> dict[str, str]:
    """Key and shapes out of torch's message: it gives them nowhere else, and only it knows the renamed keys."""
    pattern = r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\) from checkpoint.*?torch\.Size\(\[(.*?)\]\)"
    return {key: f"{key} is ({found}), not ({own})" for key, found, own in re.findall(pattern, message)}


def _named(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(key[:200] for key in keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "")
    return f"{len(keys)} {'key' if len(keys) == 1 else 'keys'} {what} ({shown})"
