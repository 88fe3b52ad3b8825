"""Tables that are no records (checks, published figures, changed layers) as files; the suffix picks the format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convbench.errors import OutputError, nearest
from convbench.report.io import csv_file, markdown
from convbench.report.io.cells import finite, keys
from convbench.report.io.files import check_writable, write_atomically

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """One table of plain values, and for the formats that have a place for it, where it was made and by which command.

    name: under which JSON holds the rows.
    """

    name: str
    rows: Sequence[Row]
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def check_row_outputs(paths: Iterable[Path]) -> None:
    """Raise OutputError, before anything is done, for a path that could not be written afterwards."""
    for path in paths:
        if path.suffix.lower() not in _EXPORTERS:
            raise OutputError(
                f"{path}: no format has the suffix {path.suffix!r}.{nearest(path.suffix, _EXPORTERS)} "
                f"Accepted: {', '.join(_EXPORTERS)}"
            )
        check_writable(path)


def write_rows(path: Path, table: Rows) -> None:
    """Write ``table`` in the format of ``path``'s suffix; the file appears whole or not at all. Raises OutputError."""
    write_atomically(path, _EXPORTERS[path.suffix.lower()](table))


def _csv(table: Rows) -> str:
    return csv_file.table(keys(table.rows), table.rows)


def _json(table: Rows) -> str:
    rows = [{key: finite(value) for key, value in row.items()} for row in table.rows]
    content = {"environment": dict(table.environment), "command": table.command, table.name: rows}
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def _markdown(table: Rows) -> str:
    made = f"\nMade by {markdown.code(table.command)}.\n" if table.command else ""
    return markdown.table(keys(table.rows), table.rows) + made


_EXPORTERS: dict[str, Callable[[Rows], str]] = {".csv": _csv, ".json": _json, ".md": _markdown}
