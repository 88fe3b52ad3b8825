"""CSV: the header, then one line a record. A file holds one table, so break-downs get files of their own beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.records import COLUMNS
from convbench.report.io.cells import keys, rows_of, text
from convbench.report.io.document import Report


def to_csv(report: Report) -> dict[str, str]:
    """The table of records under ``""``, and each break-down under its name."""
    sections = {name: table(keys(rows), rows) for name, rows in report.sections.items()}
    return {"": table(COLUMNS, rows_of(report.records)), **sections}


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a header."""
    lines = [columns, *([text(row.get(name)) for name in columns] for row in rows)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _quoted(cell: str) -> str:
    """RFC 4180's quoting. The csv module's writer leaves a lone carriage return bare, which its reader then rejects."""
    return '"' + cell.replace('"', '""') + '"' if any(symbol in cell for symbol in ',"\r\n') else cell
