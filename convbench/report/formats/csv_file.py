"""CSV: the header, then one line a record. A file holds one table, so break-downs get files of their own beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.records import COLUMNS
from convbench.report.document import Report
from convbench.report.formats.cells import keys, rows_of, text


def to_csv(report: Report) -> dict[str, str]:
    """The table of records under ``""``, and each break-down under its name."""
    sections = {name: table(keys(rows), rows) for name, rows in report.sections.items()}
    return {"": table(COLUMNS, rows_of(report.records)), **sections}


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a header."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([text(row.get(name)) for name in columns] for row in rows)
    return buffer.getvalue()
