"""How every command takes its flags: help in panels, values that complete, data on stdout where that is asked for."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from convbench.case import CONDITIONS
from convbench.cli.console import verbosity
from convbench.errors import UsageError

PANELS: dict[str, str] = {
    "Target": "-p --option --weights --pretrained --refocus --fused --transform --seed --into --where --after "
    "--host-option --baseline --kind --trust",
    "Input": "--dim --size --batch --shape --input",
    "Measures": "--measure --strict --check --skip --require --fail-slower --reference",
    "Device": "--device --dtype --autocast --channels-last --memory-format --compile --execution --mode --input-grad "
    "--threads",
    "Timing": "--processes --max-time --rigorous --metric --timeout --force --force-threads --allocator --attention",
    "Output": "-o --output --json --tree --depth --by-operator --at-peak --cross-check --memory-timeline --plots "
    "--title --columns --store --dry-run",
}
"""The panel that a flag is shown in; a flag of one command alone stands under Options."""
_FIELD = (
    "--samples --seeds --statistic --probe --layer --layout --grid --depth --layer-scale --inputs --precision --mode "
    "--full --dtype"
)
"""Flags of receptive fields, some of which mean something else elsewhere."""
_METAVARS = {"integer": "N", "float": "X", "text": "NAME", "path": "FILE", "file": "FILE"}
_SECONDS = ("--max-time", "--timeout")

_JSON_HELP = "Print JSON instead of tables: the same as -o -."
Values = Callable[[], Sequence[str]]


def _measures() -> Sequence[str]:
    from convbench.measures.table import MEASURES

    return list(MEASURES)


def _columns() -> Sequence[str]:
    from convbench.records import COLUMNS

    return [*COLUMNS, "all"]


VALUES: dict[str, Values] = {
    "--measure": _measures,
    **{stated.flag: functools.partial(tuple, stated.choices) for stated in CONDITIONS.values() if stated.choices},
    "--columns": _columns,
    "--metric": lambda: ("time", "instructions"),
    "--statistic": lambda: ("abs", "square", "relu"),
    "--probe": lambda: ("signs", "ones"),
    "--kind": lambda: ("block", "network"),
    "--where": lambda: ("3x3", "depthwise", "all"),
}
"""What a shell offers after a flag."""


class Command(TyperCommand):
    """A command whose help groups its options, and whose shell completion knows the values of a flag."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        of_fields = any("--samples" in parameter.opts for parameter in self.params)
        for parameter in self.params:
            _describe(parameter, of_fields=of_fields)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Like Click's, which of a flag's two values drops the first without a word."""
        _, _, given = self.make_parser(ctx).parse_args(list(args)) if not ctx.resilient_parsing else ((), (), [])
        for parameter, times in Counter(given).items():
            takes_one = parameter.param_type_name == "option" and not (
                getattr(parameter, "multiple", False) or getattr(parameter, "is_flag", False)
            )
            if takes_one and times > 1:
                raise UsageError(f"{parameter.opts[-1]} is given {times} times, and takes one value")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        of_fields = any("--samples" in parameter.opts for parameter in self.params)
        titles = ["Arguments", "Options", *PANELS, "Receptive field"]
        panels: dict[str, list[tuple[str, str]]] = {title: [] for title in titles}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                name = str(parameter.metavar) if is_argument else record[0]
                panels[_panel(parameter, of_fields=of_fields)].append((name, record[1]))
        panels["Options"] = panels.pop("Options")  # what every command has comes last
        for title, records in panels.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _panel(parameter: Any, *, of_fields: bool) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    if of_fields and set(parameter.opts) & set(_FIELD.split()):
        return "Receptive field"
    return next((title for title, flags in PANELS.items() if set(parameter.opts) & set(flags.split())), "Options")


def _describe(parameter: Any, *, of_fields: bool) -> None:
    """Give a parameter what its help and a shell show: a word for its values, and the values themselves."""
    if parameter.param_type_name == "argument":
        parameter.metavar = parameter.metavar or parameter.name.upper()
        return
    flag = parameter.opts[-1]
    if parameter.metavar is None and not getattr(parameter, "is_flag", False):
        kind = getattr(getattr(parameter, "type", None), "name", "") or _kind(parameter)
        parameter.metavar = "SECONDS" if flag in _SECONDS else _METAVARS.get(kind, "NAME")
    values = VALUES.get(flag)
    if values is not None and not (of_fields and flag == "--mode"):
        parameter._custom_shell_complete = functools.partial(_completed, values)


def _kind(parameter: Any) -> str:
    """The plain type of a flag's values, where Typer describes it itself."""
    shown = str(getattr(getattr(parameter, "type_descriptor", None), "annotation", ""))
    return next(
        (kind for word, kind in (("int", "integer"), ("float", "float"), ("Path", "path")) if word in shown), ""
    )


def _completed(values: Values, _context: Any, _parameter: Any, typed: str) -> list[str]:
    """The values that go on with what was typed; after a comma, the next of a list."""
    done, comma, begun = typed.rpartition(",")
    return [f"{done}{comma}{value}" for value in values() if value.startswith(begun)]


class Commands(typer.Typer):
    """A collection of commands, each a `Command`."""

    def command(self, name: str | None = None, **extra: Any) -> Callable[[Any], Any]:
        """Like Typer's; a command that writes files can print them as well."""
        register = super().command(name, **{"cls": Command, **extra})
        return lambda function: register(_with_json(function))


def _with_json(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` with ``--json``, where it has ``-o`` for tables, and with stdout kept for what ``-o -`` names."""
    parameters = inspect.signature(function).parameters
    if "output" not in parameters:
        return function
    hints = get_type_hints(function, include_extras=True)
    tabular = function.__name__ != "plot"

    @functools.wraps(function)
    def asked(json_to_stdout: bool = False, **values: Any) -> None:
        from convbench.report.io.formats import is_stdout

        if json_to_stdout:
            values["output"] = [*(values["output"] or ()), Path("-")]
        verbosity.data = any(is_stdout(path) for path in values["output"] or ())
        function(**values)

    added = inspect.Parameter(
        "json_to_stdout",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("--json", help=_JSON_HELP)],
    )
    spelled = [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]) for name, item in parameters.items()
    ]
    spelled += [added] if tabular else []
    asked.__signature__ = inspect.Signature(spelled)  # type: ignore[attr-defined]
    asked.__annotations__ = {item.name: item.annotation for item in spelled}
    del asked.__wrapped__
    return asked
