"""Command-line parameters that several commands share, and how they become a case."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from convbench.case import CONDITIONS, Case
from convbench.condition import Condition
from convbench.measures.table import MEASURES, USUAL
from convbench.reference import PER_TARGET
from convbench.registry import HOSTS, entries, option_names

_NOT_AFTER_AT = ("target", "options", "transforms")


def complete_target(incomplete: str) -> list[str]:
    """What goes on with what was typed of a reference: names, options, conditions after @, changes after +."""
    said, sign, begun = re.fullmatch(r"(?s)(?:(.*)([(,@+]))?(.*)", incomplete).groups("")  # type: ignore[union-attr]
    if sign == "+":
        words = [flag.removeprefix("--") for flag in CONDITIONS["transforms"].switches]
    elif "@" in said + sign:
        words = [f"{CONDITIONS[name].singular}=" for name in PER_TARGET if name not in _NOT_AFTER_AT]
    elif "(" in said + sign:
        words = [f"{name}=" for name in option_names((said + sign).partition("(")[0])]
    else:
        words = [entry.name for entry in entries().values()] + [f"{host}:" for host in HOSTS]
    return [f"{said}{sign}{word}" for word in words if word.lower().startswith(begun.lstrip().lower())]


Target = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_target,
        show_default=False,
        help="A registered name, file.py:Class, package.module:Class, timm:model or torchvision:model, "
        "with its own options and conditions if any: 'PyConv(kernels=[3,5])@dim=96+refocus'.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET",
        autocompletion=complete_target,
        show_default=False,
        help="Registered names (wildcards allowed), file.py:Class, package.module:Class, timm:… or torchvision:…, "
        "each with its own options and conditions if any: 'PyConv(kernels=[3,5])@dim=96+refocus'.",
    ),
]


def _flag(stated: Condition, said: str | None = None, *, several: bool = False) -> Any:
    """The flag of a condition, for Typer. said: another help; several: as many values as are wanted, for a sweep."""
    usual = stated.usual or ("" if stated.default in (None, ()) or stated.kind is bool else str(stated.default))
    flags = stated.flags or (stated.flag,)
    if stated.kind is bool and stated.default is None and not several:
        flags = (f"{stated.flag}/--no-{stated.flag.removeprefix('--')}",)
    metavar = stated.metavar or ("A,B,…" if several else None)
    text = said or stated.help + (f"  [default: {usual}]" if usual else "")
    return typer.Option(*flags, metavar=metavar, help=text, show_default=False)


Dim = Annotated[int | None, _flag(CONDITIONS["dim"])]
Options = Annotated[list[str] | None, _flag(CONDITIONS["options"])]
Device = Annotated[str, _flag(CONDITIONS["device"])]
Threads = Annotated[int, _flag(CONDITIONS["threads"])]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="NAME",
        help=f"{', '.join(MEASURES)}; repeatable.  [default: {', '.join(USUAL)}, where they can be]",
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
class Group:
    """A group of flags: what Typer is shown of them, and what is made of their values."""

    parameters: Sequence[inspect.Parameter]
    collect: Callable[[Mapping[str, Any]], Any]


def case_flags(names: Iterable[str] = CONDITIONS, **helps: str) -> Group:
    """The flags of these conditions, which give a case without a target. helps: where a command says it otherwise."""
    chosen = [CONDITIONS[name] for name in names if name != "target"]
    parameters = []
    for stated in chosen:
        for flag, (_, text) in stated.switches.items():
            parameters.append(_parameter(_name(flag), Annotated[bool, typer.Option(flag, help=text)], False))
        if not stated.switches:
            kind: Any = list[str] if stated.reader is not None else stated.kind
            parameters.append(_parameter(stated.name, Annotated[kind | None, _flag(stated, helps.get(stated.name))]))

    def collect(values: Mapping[str, Any]) -> Case:
        found: dict[str, Any] = {}
        for stated in chosen:
            said = "+".join(value for flag, (value, _) in stated.switches.items() if values[_name(flag)])
            value = said or values.get(stated.name)
            if value:
                found[stated.name] = stated.read(value)
            elif value is not None and not stated.switches:
                found[stated.name] = value
        return Case("", **found)

    return Group(parameters, collect)


def key_flags(keys: Iterable[Condition], *, several: bool = False) -> Group:
    """A flag for each of these keys of a study, and the values that are given, by plural; several: as texts."""
    parameters = []
    for key in keys:
        kind: Any = list[str] if several else key.kind
        parameters.append(_parameter(key.plural, Annotated[kind | None, _flag(key, several=several)]))
    return Group(
        parameters,
        lambda values: {name: value for name, value in values.items() if value or value == 0},
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
    """Spell out each parameter of ``command`` that is a group, or a dataclass, of flags as options of Typer's."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: group for name, hint in hints.items() if (group := _group(hint)) is not None}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        single = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += groups[name].parameters if name in groups else [single]

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group.collect({item.name: values.pop(item.name) for item in group.parameters})
        command(**values)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del expanded.__wrapped__
    return expanded


def _group(hint: Any) -> Group | None:
    if get_origin(hint) is Annotated:
        return next((part for part in get_args(hint) if isinstance(part, Group)), None)
    if not is_dataclass(hint):
        return None
    hints = get_type_hints(hint, include_extras=True)
    made: Any = hint
    return Group(
        [_parameter(item.name, hints[item.name], item.default) for item in fields(hint)], lambda values: made(**values)
    )


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


CaseFlags = Annotated[Case, case_flags()]
