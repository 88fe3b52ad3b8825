"""CSV: the header, then one line a record. A file holds one table, so break-downs get files of their own beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convbench.errors import UsageError
from convbench.reading import read_text
from convbench.report.io.cells import require_columns, tables_of, text
from convbench.report.io.document import Report
from convbench.rows import record_from


def to_csv(report: Report) -> dict[str, str]:
    """Every table: the file's own under ``""``, each break-down under its name."""
    return {item.name if index else "": table(item.columns, item.rows) for index, item in enumerate(tables_of(report))}


def load_csv(path: Path) -> Report:
    """The records of a table. Raises UsageError."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = rows.fieldnames or []
        require_columns(path, header)
        records = [record_from(row, f"{path}, line {rows.line_num}", text=True) for row in rows]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV: {error}") from error
    return Report(records, origin=path.name)


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a header."""
    lines = [columns, *([text(row.get(name)) for name in columns] for row in rows)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _quoted(cell: str) -> str:
    """RFC 4180's quoting. The csv module's writer leaves a lone carriage return bare, which its reader then rejects."""
    return '"' + cell.replace('"', '""') + '"' if any(symbol in cell for symbol in ',"\r\n') else cell
