"""Values on their way into files: raw numbers; what was not measured, or is no number, is empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.records import Record


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
