"""The case: what is measured, under which conditions. Everything else is derived from it. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convbench.condition import condition, conditions_of, of_kind
from convbench.errors import DeviceError, ShapeError, UsageError, nearest
from convbench.inputs import Input, arguments_of, given_inputs
from convbench.notation import format_options, format_shapes, format_value, parse_options, plain
from convbench.reading import shown, typed

Mode = Literal["inference", "forward", "training"]
Execution = Literal["eager", "compiled", "onnxruntime", "openvino", "aot", "torchscript"]
MemoryFormat = Literal["contiguous", "channels_last"]

DTYPES = ("float32", "float64", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
DEFAULT_DIM = 64
DEFAULT_SIZE = 56
DEFAULT_IMAGE_SIZE = 224
_MOST = 2**31 - 1
"""Of a width, an extent, a batch or a number of threads."""


def _require_positive(name: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ShapeError(f"{name} must be a whole number of at least 1, got {shown(value)}")
    if value > _MOST:
        raise ShapeError(f"{name} must be at most {_MOST}, got {shown(value)}")


def _require_seed(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value < 2**63:
        raise UsageError(f"{name} must be a whole number from 0 to 2**63 - 1, got {shown(value)}")


def _require_device(_: str, device: str) -> None:
    kind, colon, index = device.partition(":")
    if kind not in DEVICES or (colon and not index.isdigit()):
        raise DeviceError(
            f"device {shown(device)} is not one of cpu, cuda, cuda:0, mps, xpu, meta.{nearest(kind, DEVICES)}"
        )


def _read_transforms(value: Any) -> tuple[str, ...]:
    text: str = of_kind(value, str)
    return () if text in ("", "none") else tuple("fuse" if name == "fused" else name for name in text.split("+"))


@dataclass(frozen=True, slots=True)
class Case:
    """One target with its options, input, device, dtype, memory format, mode and execution.

    Each field says of itself how it is given and shown, as a `Condition`.

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

    target: str = condition(dataclasses.MISSING, plural="targets", column="target", flags=("TARGET",))
    dim: int | None = condition(None, "Channels of a block.", "64", plural="dims", checker=_require_positive)
    options: tuple[tuple[str, Any], ...] = condition(
        (),
        "An option of the target, as a Python literal; repeatable.",
        metavar="KEY=VALUE",
        flags=("-p", "--option"),
        reader=lambda pairs: tuple(parse_options(pairs).items()),
    )
    size: int | None = condition(
        None,
        "Height and width.",
        "56; networks: 224",
        plural="sizes",
        column="input_shape",
        checker=_require_positive,
    )
    batch: int = condition(1, "Batch size.", plural="batches", column="input_shape", checker=_require_positive)
    shapes: tuple[Input, ...] = condition(
        (),
        "An input, instead of --batch and --size; repeat for more. In full [NAME=]SHAPE[:DTYPE[:LOW..HIGH]], such as "
        "step=2:int64:0..999; [a, b], (a, b) and {key: a} are lists, tuples and dicts.",
        metavar="N,C,H,W",
        flags=("--shape", "--input"),
        singular="shape",
        plural="shapes",
        column="input_shape",
        reader=given_inputs,
        checker=lambda _, inputs: arguments_of(inputs),
    )
    device: str = condition(
        "cpu",
        "cpu, cuda, cuda:0, mps, xpu, or meta: no computing, any size.",
        plural="devices",
        choices=DEVICES,
        column="device",
        checker=_require_device,
    )
    dtype: str | None = condition(
        None,
        "float32, float64, bfloat16 or float16: converts floating parameters, and complex ones to that width.",
        "the module's own",
        plural="dtypes",
        choices=DTYPES,
    )
    autocast: str | None = condition(
        None, "Run under autocast to this dtype.", metavar="DTYPE", plural="autocasts", choices=DTYPES
    )
    memory_format: MemoryFormat = condition(
        "contiguous",
        "contiguous or channels_last.",
        plural="memory_formats",
        column="memory_format",
        switches={"--channels-last": ("channels_last", "Module and input in channels_last memory format.")},
    )
    execution: Execution = condition(
        "eager",
        "eager, compiled, onnxruntime, openvino, aot or torchscript.",
        plural="executions",
        column="execution",
        switches={"--compile": ("compiled", "Time the module under torch.compile.")},
    )
    mode: Mode = condition(
        "inference", "inference; training: forward + backward; forward: its first half.", plural="modes", column="mode"
    )
    input_grad: bool | None = condition(
        None, "Whether training computes the input's gradient.", "blocks yes, networks no", plural="input_grads"
    )
    threads: int = condition(
        1, "CPU threads of the timed calls.", plural="threads", column="threads", checker=_require_positive
    )
    weights: str | None = condition(None, "Checkpoint, .pth or .safetensors.", metavar="FILE", plural="weights")
    pretrained: bool = condition(False, "The host's published weights (timm:, torchvision:).", plural="pretrained")
    transforms: tuple[str, ...] = condition(
        (),
        "none, refocus, refocus+fuse.",
        singular="transform",
        plural="transforms",
        reader=_read_transforms,
        switches={
            "--refocus": ("refocus", "Replace the target's k×k convolutions by RefConv."),
            "--fused": ("fuse", "Fold every RefConv, such as those of --refocus, back into a plain convolution."),
        },
    )
    seed: int = condition(0, "Seed of initialisation and input.", plural="seeds", checker=_require_seed)

    def __post_init__(self) -> None:
        for name, stated in CONDITIONS.items():
            stated.check(getattr(self, name))
        if self.shapes and (self.size is not None or self.batch != 1):
            raise ShapeError("give either --shape or --batch and --size: a shape already says both")

    def __hash__(self) -> int:  # not of the options, which may be lists
        return hash((self.target, self.dim, self.size, self.shapes, self.mode))

    @property
    def label(self) -> str:
        """The case as a reference that says whatever is not as usual, such as ``PyConv(kernels=[3, 5])@dim=96``."""
        options = ", ".join(f"{name}={format_value(value)}" for name, value in self.options)
        told = [
            f"{stated.singular}={_said(format_shapes(value) if name == 'shapes' else str(value))}"
            for name, stated in CONDITIONS.items()
            if name not in ("target", "options", "transforms") and (value := getattr(self, name)) != stated.default
        ]
        changes = "".join(f"+{'fused' if name == 'fuse' else name}" for name in self.transforms)
        given = f"({options})" if options else ""
        return f"{self.target}{given}{'@' * bool(told)}{','.join(told)}{changes}"

    @property
    def given(self) -> str:
        """As JSON, what was asked for beyond the columns of a record; `from_json` takes it back."""
        row = self.to_json()
        return format_options({name: row[name] for name in GIVEN if getattr(self, name) != CONDITIONS[name].default})

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
        row["options"] = {key: plain(value) for key, value in self.options}
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


def _said(text: str) -> str:
    """A condition's value in a reference: quoted where it could be taken for more of the reference."""
    return text if re.fullmatch(r"[\w./:;=-]+", text) and ".py:" not in text else repr(text)


CONDITIONS = conditions_of(Case)
"""What each field of a case says of itself, in order."""
GIVEN = tuple(name for name, stated in CONDITIONS.items() if not stated.column)
"""Those that no column of a record says, or that a column says as they came out."""
STATED = tuple(name for name in GIVEN if name not in ("dim", "options", "dtype"))
"""Those that a record states beside the target's effective options."""
