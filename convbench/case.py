"""The case: what is measured, under which conditions. Everything else is derived from it. Imports no torch."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from convbench.errors import DeviceError, OptionError, ShapeError, UsageError, nearest
from convbench.inputs import Input, arguments_of
from convbench.reading import shown, typed

Mode = Literal["inference", "forward", "training"]
Execution = Literal["eager", "compiled"]
MemoryFormat = Literal["contiguous", "channels_last"]

DTYPES = ("float32", "float64", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
DEFAULT_DIM = 64
DEFAULT_SIZE = 56
DEFAULT_IMAGE_SIZE = 224
_MOST = 2**31 - 1
"""Of a width, an extent, a batch or a number of threads."""


@dataclass(frozen=True, slots=True)
class Case:
    """One target with its options, input, device, dtype, memory format, mode and execution.

    dim: channels of a block (64 unless given); a network has none.
    shapes: one an argument of the call, a text where a shape does not say it (see `convbench.inputs`); empty means what
        the target says itself, or else (batch, channels, size, size).
    size: height and width; None means 56 for a block, 224 for a network.
    mode: ``inference``, forward without gradients in eval mode; ``training``, forward and backward in training mode;
        ``forward``, the forward half of that, with gradients recorded.
    dtype: that floating parameters and inputs are converted to, complex ones to the complex dtype of that width; None
        means those that the module has, float32 as a rule.
    input_grad: whether training needs the gradient of the input; None means as the target is used: a block sits inside
        a network and passes a gradient on, a network reads images and does not.
    autocast: dtype of autocast regions, or None.
    weights, pretrained: a checkpoint file; the weights that the target's host publishes.
    transforms: changes made to the built module, in order: ``refocus``, ``fuse``.

    Raises a UsageError that names the value and the rule for anything malformed.
    """

    target: str
    dim: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    batch: int = 1
    size: int | None = None
    shapes: tuple[Input, ...] = ()
    device: str = "cpu"
    dtype: str | None = None
    memory_format: MemoryFormat = "contiguous"
    mode: Mode = "inference"
    execution: Execution = "eager"
    threads: int = 1
    autocast: str | None = None
    input_grad: bool | None = None
    weights: str | None = None
    pretrained: bool = False
    transforms: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "batch", "size", "threads"):
            _require_positive(name, getattr(self, name))
        arguments_of(self.shapes)
        if self.shapes and (self.size is not None or self.batch != 1):
            raise ShapeError("give either --shape or --batch and --size: a shape already says both")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise UsageError(f"seed must be a whole number from 0 to 2**63 - 1, got {shown(self.seed)}")
        if self.dtype is not None:
            _require_choice("dtype", self.dtype, DTYPES)
        if self.autocast is not None:
            _require_choice("autocast", self.autocast, DTYPES)
        _require_choice("mode", self.mode, get_args(Mode))
        _require_choice("execution", self.execution, get_args(Execution))
        _require_choice("memory_format", self.memory_format, get_args(MemoryFormat))
        _require_device(self.device)

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the call by position and by name, as far as the case says them."""
        return arguments_of(self.shapes)

    @property
    def device_type(self) -> str:
        """The device without its index: ``cuda`` of ``cuda:1``."""
        return self.device.partition(":")[0]

    @property
    def key(self) -> str:
        """A short digest of everything that defines the case; equal cases have equal keys on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain JSON values from which `from_json` restores an equal case."""
        row = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        row["options"] = {key: _plain(value) for key, value in self.options}
        row["shapes"] = [shape if isinstance(shape, str) else list(shape) for shape in self.shapes]
        row["transforms"] = list(self.transforms)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Case:
        """The case that `to_json` described. Raises UsageError that names the field that is not as it must be."""
        options = row.get("options", {})
        if not isinstance(options, Mapping):
            raise UsageError(f"case: options: expected a mapping, got {shown(options)}")
        unknown = row.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise UsageError(f"case: no condition is called {shown(min(unknown, key=str))}")
        return typed({**row, "options": list(options.items())}, cls, "case")


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """``["kernels=[3,5]", "bias=True"]`` as a mapping; values are Python literals, anything else stays a string.

    Raises OptionError for a pair without ``=`` and for a key given twice.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise OptionError(f"option {shown(pair)}: write key=value, such as -p kernel_size=7 or -p kernels=[3,5]")
        if key in options:
            raise OptionError(f"option {shown(key)} is given twice")
        options[key] = literal(text.strip())
    return options


def literal(text: str) -> Any:
    """A Python literal as its value, any other text as itself; nothing is evaluated.

    Raises OptionError for a literal that is no plain value: numbers, texts, lists and mappings can be written down.
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that escapes nothing
            value = ast.literal_eval(text)
            plain = _is_plain(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    if not plain:
        raise OptionError(f"{shown(text)} is no plain value: write a finite number, a text, a list or a mapping")
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _require_positive(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ShapeError(f"{name} must be a whole number of at least 1, got {shown(value)}")
    if value is not None and value > _MOST:
        raise ShapeError(f"{name} must be at most {_MOST}, got {shown(value)}")


def _require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    choices = tuple(choices)
    if value not in choices:
        raise UsageError(f"{name} {shown(value)} is not one of {', '.join(choices)}.{nearest(str(value), choices)}")


def _require_device(device: str) -> None:
    kind, colon, index = device.partition(":")
    if kind not in DEVICES or (colon and not index.isdigit()):
        raise DeviceError(
            f"device {shown(device)} is not one of cpu, cuda, cuda:0, mps, xpu, meta.{nearest(kind, DEVICES)}"
        )
