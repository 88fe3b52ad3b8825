"""Values on their way into files: raw numbers; what was not measured, or is no number, is empty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbench.errors import UsageError
from convbench.records import COLUMNS, Record
from convbench.report.io.document import Report


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of scalar cells under their columns. name: of the break-down; empty for the records."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def tables_of(report: Report, columns: Sequence[str] = COLUMNS) -> list[Table]:
    """What formats of flat tables hold: the records under ``columns``, then each break-down without nested values.

    Where there are break-downs only, the first of them stands in the records' place.
    """
    found = [Table("", columns, rows_of(report.records))] if report.records or not report.sections else []
    for name, rows in report.sections.items():
        flat = [{key: value for key, value in row.items() if not _is_nested(value)} for row in rows]
        found.append(Table(name, keys(flat), flat))
    return found


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def finite(value: Any) -> Any:
    """``value``, or None for an infinity and for what is not a number: neither can be told to every reader."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(value: Any) -> str:
    """A value as CSV holds it: ``true``/``false``, the shortest digits that give the same number back, or empty."""
    value = finite(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def rows_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every record as a row of plain values, in column order."""
    return [{name: finite(value) for name, value in record.to_row().items()} for record in records]


def keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of a break-down, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def require_columns(path: Path, names: Iterable[str]) -> None:
    """Raise UsageError unless ``names``, of a table that was read, can be those of records."""
    names = list(names)
    if "target" not in names:
        raise UsageError(
            f"{path}: no column 'target', so these are no records of convbench (its columns: {COLUMNS[0]}, …)"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: the column {twice!r} stands twice")
