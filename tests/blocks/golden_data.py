"""The golden cases: options, shapes and modes from the manifest, weights and inputs from a formula."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

DATA = Path(__file__).parents[1] / "data"
INPUT_NUMBER = 10000
OUTPUT_GRADIENT_NUMBER = 20000


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One entry of the manifest with the arrays that belong to it."""

    name: str
    target: str
    kind: Literal["block", "network"]
    options: dict[str, Any]
    input_shape: tuple[int, ...]
    training: bool
    params: int
    buffers: int
    state_keys: int
    output_shape: tuple[int, ...]

    def array(self, name: str) -> Tensor:
        """``output`` or, of a block, ``grad_input``."""
        with np.load(DATA / "golden" / f"{self.name}.npz") as arrays:
            return torch.from_numpy(arrays[name])

    def input(self, dtype: torch.dtype = torch.float32) -> Tensor:
        return numbers(self.input_shape, INPUT_NUMBER).to(dtype)


def cases(kind: Literal["block", "network"]) -> list[GoldenCase]:
    manifest = json.loads((DATA / "golden" / "manifest.json").read_text())
    return [
        GoldenCase(
            name,
            entry["target"],
            entry["kind"],
            entry["options"],
            tuple(entry["input_shape"]),
            entry["mode"] == "train",
            entry["params"],
            entry["buffers"],
            entry["state_keys"],
            tuple(entry["output_shape"]),
        )
        for name, entry in manifest.items()
        if entry["kind"] == kind
    ]


def numbers(shape: tuple[int, ...], number: int) -> Tensor:
    """2·frac(sin(12.9898·t + 78.233·number)·43758.5453) − 1 for t = 0, 1, …, in float64."""
    t = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.float64)
    value = np.sin(12.9898 * t + 78.233 * number) * 43758.5453
    return torch.from_numpy((2 * (value - np.floor(value)) - 1).reshape(shape))


def fill(module: nn.Module) -> nn.Module:
    """Write the formula's weights into the module's state, entry by entry in the order of its sorted keys."""
    with torch.no_grad():
        for number, (key, tensor) in enumerate(sorted(module.state_dict().items())):
            if not tensor.is_floating_point():
                continue
            value = numbers(tuple(tensor.shape), number)
            name = key.rpartition(".")[2]
            if name == "running_var":
                value = 1 + 0.3 * value
            elif name == "running_mean":
                value = 0.1 * value
            elif tensor.ndim > 1:
                value = value * (3 * tensor.shape[0] / tensor.numel()) ** 0.5
            else:
                value = {"weight": 1 + 0.3 * value, "bias": 0.1 * value}.get(name, 0.5 + 0.2 * value)
            tensor.copy_(value)
    return module


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the expected tensor's largest magnitude."""
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def state_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Key → shape of a published checkpoint."""
    keys = {}
    for line in (DATA / "state_keys" / f"{name}.txt").read_text().splitlines():
        key, shape = line.split("\t")[:2]
        keys[key] = tuple(int(size) for size in shape.strip("()").split(",") if size.strip())
    return keys
