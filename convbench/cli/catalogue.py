"""``convbench list`` and ``convbench show``: what can be measured, and with which options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import out, print_heading, print_table
from convbench.cli.options import Dim, Options, Target, Targets, Timeout
from convbench.errors import UsageError
from convbench.registry import HOSTS, Entry, of_family, resolve, select

if TYPE_CHECKING:
    from convbench.measures.show import Shown

_LIST_EXAMPLES = """\b
Examples:
  convbench list
  convbench list 'PyConv*' --kind block
  convbench list --family attention
  convbench list --keeps-shape
  convbench list 'timm:convnext*'
  convbench list --json
"""


@app.command("list", epilog=_LIST_EXAMPLES)
def list_targets(
    patterns: Targets = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind: block or network.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", help="Only this family: large-kernel, dynamic, attention, …")
    ] = None,
    keeps_shape: Annotated[
        bool, typer.Option("--keeps-shape", help="Only blocks whose output has their input's shape.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, with every field.")] = False,
) -> None:
    """Print every registered target, or those whose name matches a pattern, family by family."""
    if kind not in (None, "block", "network"):
        raise UsageError(f"--kind is block or network, got {kind!r}")
    hosted = [pattern for pattern in patterns or () if pattern.partition(":")[0] in HOSTS and ":" in pattern]
    own = [pattern for pattern in patterns or () if pattern not in hosted]
    chosen = select(own, kind) if own or not hosted else []  # type: ignore[arg-type]
    if kind != "block":
        chosen += _hosted(hosted)
    if family is not None:
        chosen = of_family(chosen, family)
    if keeps_shape:
        chosen = [entry for entry in chosen if entry.keeps_shape]
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in chosen], indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    columns = ("name", "kind", "what it is", "shape", "source")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    shown_family = None
    for entry in chosen:
        if entry.kind == "block" and entry.family != shown_family:
            shown_family = entry.family
            table.add_row(f"{shown_family or 'other'}:")
        source = " ".join(
            part for part in (f"arXiv:{entry.arxiv}" if entry.arxiv else "", str(entry.year or "")) if part
        )
        table.add_row(entry.name, entry.kind, entry.summary, _kept(entry), source)
    print_table(table)


def _kept(entry: Entry) -> str:
    """What a block keeps as it is built by default; nothing where nobody has said."""
    if entry.keeps_shape:
        return "kept"
    return "" if entry.stride is None else f"stride {entry.stride}"


def _hosted(patterns: Sequence[str]) -> list[Entry]:
    """Models of hosts, which a worker knows. Raises UsageError."""
    from convbench.cli.asking import asking, value_of

    if not patterns:
        return []
    found: list[Entry] = []
    with asking(None) as (ask, tell):
        for pattern in patterns:
            tell(f"{pattern}: asking for its models")
            names = value_of(ask({"do": "convbench.target.hosts:list_models", "pattern": pattern}))
            found += [Entry(name, "network", name, origin=name.partition(":")[0]) for name in names]
    return found


_SHOW_EXAMPLES = """\b
Examples:
  convbench show MRFA
  convbench show PyConv --dim 128 -p kernels=[3,5]
  convbench show my_blocks.py:MyBlock
"""


@app.command(epilog=_SHOW_EXAMPLES)
def show(target: Target, dim: Dim = None, option: Options = None, timeout: Timeout = None) -> None:
    """Print a target's paper, signature, options with their defaults, and parameter tree."""
    from convbench.case import Case
    from convbench.cli.asking import asking, value_of
    from convbench.measures.show import Shown
    from convbench.notation import parse_options
    from convbench.reference import read_case
    from convbench.workers.codec import decode

    usual = Case("", dim=dim, options=tuple(parse_options(option or ()).items()))
    case = read_case(target, usual, ("dim",))
    entry = resolve(case.target).entry
    with asking(timeout) as (ask, tell):
        tell(f"{target}: building")
        found = decode(Shown, value_of(ask({"do": "convbench.measures.show:run", "case": case.to_json()})))
    print_heading(found.name, f"({found.kind})" + (f": {entry.summary}" if entry else ""))
    if entry is not None:
        _print_source(entry)
    if found.signature:
        _print_options(found)
    _print_weights(found)


def _print_source(entry: Entry) -> None:
    if entry.paper:
        out().print(f"paper: {entry.paper}" + (f", arXiv:{entry.arxiv}" if entry.arxiv else ""))
    out().print(f"from: {entry.origin}")


def _print_options(found: Shown) -> None:
    from rich.table import Table

    out().print(f"signature: {found.signature}")
    table = Table("option", "type", "default", "here", box=None, header_style="bold", pad_edge=False)
    for option in found.options:
        table.add_row(option.name, option.type, option.default, option.here)
    out().print()
    print_table(table)


def _print_weights(found: Shown) -> None:
    from rich.table import Table

    table = Table("parameter or buffer", "shape", "elements", "", box=None, header_style="bold", pad_edge=False)
    table.columns[2].justify = "right"
    for weight in found.weights:
        shape = "×".join(map(str, weight.shape)) or "scalar"
        table.add_row(weight.name, shape, f"{weight.elements:,}", weight.remark)
    out().print()
    print_table(table)
    out().print(
        f"\n{found.params:,} parameters ({found.trainable_params:,} trainable), {found.buffers:,} buffer elements"
    )


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
        "family": entry.family,
        "keeps_shape": entry.keeps_shape,
        "stride": entry.stride,
        "origin": entry.origin,
    }
