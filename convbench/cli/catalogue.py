"""``convbench list`` and ``convbench show``: what can be measured, and with which options."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import out, print_heading, print_table
from convbench.cli.options import Dim, Options, Target, Targets
from convbench.errors import UsageError
from convbench.registry import Entry, select

if TYPE_CHECKING:
    from torch import nn

_LIST_EXAMPLES = """\b
Examples:
  convbench list
  convbench list 'PyConv*' --kind block
  convbench list --json
"""


@app.command("list", epilog=_LIST_EXAMPLES)
def list_targets(
    patterns: Targets = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind: block or network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, with every field.")] = False,
) -> None:
    """Print every registered target, or those whose name matches a pattern."""
    if kind not in (None, "block", "network"):
        raise UsageError(f"--kind is block or network, got {kind!r}")
    chosen = select(patterns or (), kind)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in chosen], indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("name", "kind", "what it is", "source", box=None, header_style="bold", pad_edge=False)
    for entry in chosen:
        source = " ".join(
            part for part in (f"arXiv:{entry.arxiv}" if entry.arxiv else "", str(entry.year or "")) if part
        )
        table.add_row(entry.name, entry.kind, entry.summary, source)
    print_table(table)


_SHOW_EXAMPLES = """\b
Examples:
  convbench show MRFA
  convbench show PyConv --dim 128 -p kernels=[3,5]
  convbench show my_blocks.py:MyBlock
"""


@app.command(epilog=_SHOW_EXAMPLES)
def show(target: Target, dim: Dim = None, option: Options = None) -> None:
    """Print a target's paper, signature, options with their defaults, and parameter tree."""
    from convbench.case import Case, parse_options
    from convbench.registry import resolve
    from convbench.target.blueprint import blueprint
    from convbench.target.references import load_factory

    case = Case(target, dim=dim, options=tuple(parse_options(option or ()).items()))
    plan = blueprint(case)
    reference = resolve(target)
    print_heading(plan.name, f"({plan.kind})" + (f": {reference.entry.summary}" if reference.entry else ""))
    if reference.entry is not None:
        _print_source(reference.entry)
    if reference.scheme not in ("timm", "torchvision"):
        _print_options(load_factory(reference), plan.options)
    _print_parameters(plan.module(device="meta"))


def _print_source(entry: Entry) -> None:
    if entry.paper:
        out().print(f"paper: {entry.paper}" + (f", arXiv:{entry.arxiv}" if entry.arxiv else ""))
    out().print(f"from: {entry.origin}")


def _print_options(factory: Any, values: Any) -> None:
    from rich.table import Table

    signature = inspect.signature(factory)
    out().print(f"signature: {getattr(factory, '__name__', factory)}{signature}")
    table = Table("option", "type", "default", "here", box=None, header_style="bold", pad_edge=False)
    for name, parameter in signature.parameters.items():
        empty = inspect.Parameter.empty
        annotation = "" if parameter.annotation is empty else inspect.formatannotation(parameter.annotation).strip("'")
        default = "required" if parameter.default is empty else repr(parameter.default)
        table.add_row(name, annotation, default, repr(values[name]) if name in values else "")
    out().print()
    print_table(table)


def _print_parameters(module: nn.Module) -> None:
    from rich.table import Table

    from convbench.measures.params import measure_params

    table = Table("parameter or buffer", "shape", "elements", "", box=None, header_style="bold", pad_edge=False)
    table.columns[2].justify = "right"
    for name, parameter in module.named_parameters():
        table.add_row(name, _shape(parameter), f"{parameter.numel():,}", "" if parameter.requires_grad else "frozen")
    for name, buffer in module.named_buffers():
        table.add_row(name, _shape(buffer), f"{buffer.numel():,}", "buffer")
    out().print()
    print_table(table)
    total = measure_params(module)
    out().print(
        f"\n{total.params:,} parameters ({total.trainable_params:,} trainable), {total.buffers:,} buffer elements"
    )


def _shape(tensor: Any) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"


def _as_json(entry: Entry) -> dict[str, Any]:
    target = entry.target if isinstance(entry.target, str) else getattr(entry.target, "__qualname__", str(entry.target))
    return {
        "name": entry.name,
        "kind": entry.kind,
        "target": target,
        "summary": entry.summary,
        "paper": entry.paper,
        "arxiv": entry.arxiv,
        "year": entry.year,
        "size": entry.size,
        "origin": entry.origin,
    }
