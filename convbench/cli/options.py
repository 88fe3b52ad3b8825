"""Command-line parameters that several commands share, and how they become a case."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from convbench.case import Case, parse_options
from convbench.errors import UsageError
from convbench.inputs import read_inputs
from convbench.registry import HOSTS, Kind, entries, select


def complete_target(incomplete: str) -> list[str]:
    """Registered names and host prefixes that start with what was typed."""
    names = [entry.name for entry in entries().values()] + [f"{host}:" for host in HOSTS]
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def expand_targets(references: Sequence[str] | None, kind: Kind = "block", *, repeated: bool = False) -> list[str]:
    """References as typed, wildcards replaced by what they match; every registered ``kind`` when there are none.

    repeated: whether a name that is typed twice stays twice. A wildcard adds only what is not there yet.
    """
    if not references:
        return [entry.name for entry in select(kind=kind)]
    names: list[str] = []
    for reference in references:
        wild = any(symbol in reference for symbol in "*?[") and ":" not in reference
        found = [entry.name for entry in select([reference])] if wild else [reference]
        names += [name for name in found if name not in names or (repeated and not wild)]
    return names


Target = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_target,
        show_default=False,
        help="A registered name, file.py:Class, package.module:Class, timm:model or torchvision:model.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        autocompletion=complete_target,
        show_default=False,
        help="Registered names (wildcards allowed), file.py:Class, package.module:Class, timm:… or torchvision:…",
    ),
]
Dim = Annotated[int | None, typer.Option("--dim", help="Channels of a block.  [default: 64]", show_default=False)]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--option", metavar="KEY=VALUE", help="An option of the target, as a Python literal; repeatable."
    ),
]
Size = Annotated[
    int | None,
    typer.Option("--size", help="Height and width.  [default: 56; networks: 224]", show_default=False),
]
Batch = Annotated[int | None, typer.Option("--batch", help="Batch size.  [default: 1]", show_default=False)]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        "--input",
        metavar="N,C,H,W",
        help="An input, instead of --batch and --size; repeat for more. In full [NAME=]SHAPE[:DTYPE[:LOW..HIGH]], such "
        "as step=2:int64:0..999; [a, b], (a, b) and {key: a} are lists, tuples and dicts.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, mps, xpu, or meta: no computing, any size.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, float64, bfloat16 or float16: converts floating parameters, and complex ones to that width.  "
        "[default: the module's own]",
        show_default=False,
    ),
]
Autocast = Annotated[
    str | None,
    typer.Option("--autocast", metavar="DTYPE", help="Run under autocast to this dtype.", show_default=False),
]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Module and input in channels_last memory format.")]
Compile = Annotated[bool, typer.Option("--compile", help="Time the module under torch.compile.")]
Mode = Annotated[str, typer.Option("--mode", help="inference; training: forward + backward; forward: its first half.")]
InputGrad = Annotated[
    bool | None,
    typer.Option(
        "--input-grad/--no-input-grad",
        help="Whether training computes the input's gradient.  [default: blocks yes, networks no]",
        show_default=False,
    ),
]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads of the timed calls.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Checkpoint, .pth or .safetensors.", show_default=False)
]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="The host's published weights (timm:, torchvision:).")]
Refocus = Annotated[bool, typer.Option("--refocus", help="Replace the target's k×k convolutions by RefConv.")]
Fused = Annotated[
    bool, typer.Option("--fused", help="With --refocus: fold every RefConv back into a plain convolution.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of initialisation and input.")]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="NAME",
        help="params, cost, latency, memory or erf; repeatable.  [default: all that can be]",
    ),
]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Also write a file; the suffix picks the format, - is stdout as JSON; repeatable.",
    ),
]
Processes = Annotated[
    int | None, typer.Option("--processes", help="Measuring processes.  [default: 3; compare: 5]", show_default=False)
]
MaxTime = Annotated[
    float | None,
    typer.Option(
        "--max-time",
        help="Seconds of timing a target after its warm-up, all processes together.  [default: 6; compare: 10]",
        show_default=False,
    ),
]
Rigorous = Annotated[bool, typer.Option("--rigorous", help="Eight measuring processes and tighter intervals.")]
Metric = Annotated[str, typer.Option("--metric", help="time, or instructions (repeatable where no clock is).")]
Allocator = Annotated[
    str,
    typer.Option(
        "--allocator",
        help="kept: freed memory stays with the timed process, as in one that has run for long; default: as glibc does "
        "by itself, which may take 2.6 times as long.",
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds after which a hanging target is stopped.", show_default=False)
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Build whatever the file names, and not only what is known to be a module."),
]
Force = Annotated[bool, typer.Option("--force", help="Time although more threads are asked for than cores are idle.")]


@dataclass(frozen=True, slots=True)
class CaseFlags:
    """The flags that describe a case, as given."""

    dim: Dim = None
    option: Options = None
    size: Size = None
    batch: Batch = None
    shape: Shapes = None
    device: Device = "cpu"
    dtype: Dtype = None
    autocast: Autocast = None
    channels_last: ChannelsLast = False
    compile: Compile = False
    mode: Mode = "inference"
    input_grad: InputGrad = None
    threads: Threads = 1
    weights: Weights = None
    pretrained: Pretrained = False
    refocus: Refocus = False
    fused: Fused = False
    seed: Seed = 0

    def case(self, target: str) -> Case:
        """The case of ``target`` under these flags. Raises UsageError."""
        if self.fused and not self.refocus:
            raise UsageError("--fused folds what --refocus made: give both, --refocus --fused")
        return Case(
            target,
            dim=self.dim,
            options=tuple(parse_options(self.option or ()).items()),
            batch=1 if self.batch is None else self.batch,
            size=self.size,
            shapes=tuple(item for text in self.shape or () for item in read_inputs(text)),
            device=self.device,
            dtype=self.dtype,
            memory_format="channels_last" if self.channels_last else "contiguous",
            mode=cast(Any, self.mode),
            execution="compiled" if self.compile else "eager",
            threads=self.threads,
            autocast=self.autocast,
            input_grad=self.input_grad,
            weights=None if self.weights is None else str(self.weights),
            pretrained=self.pretrained,
            transforms=(("refocus",) if self.refocus else ()) + (("fuse",) if self.fused else ()),
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class TimingFlags:
    """The flags that steer the timing of latencies."""

    processes: Processes = None
    max_time: MaxTime = None
    rigorous: Rigorous = False
    metric: Metric = "time"
    allocator: Allocator = "kept"
    timeout: Timeout = None
    force: Force = False


def takes_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Spell out every parameter of ``command`` that is a dataclass of flags, so that Typer sees one option a field."""
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            parameters += _flags_of(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{item.name: values.pop(item.name) for item in fields(group)})
        command(**values)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del expanded.__wrapped__
    return expanded


def _flags_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name])
        for item in fields(group)
    ]
