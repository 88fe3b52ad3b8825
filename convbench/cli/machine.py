"""``convbench env`` and ``convbench calibrate``: this machine, and what it can tell apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.console import print_table

_ENV_EXAMPLES = """\b
Examples:
  convbench env
  convbench env --json > environment.json
"""


@app.command(epilog=_ENV_EXAMPLES)
def env(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Print the environment record that every JSON report embeds."""
    from convbench.environment import environment

    record = environment().to_json()
    if as_json:
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("item", "value", box=None, header_style="bold", pad_edge=False)
    for name, value in _leaves(record):
        if name != "torch.build":
            table.add_row(name, value)
    print_table(table)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield path, "unknown" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
