"""The theoretical receptive fields of a network's layers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

_FIELD = ("field_height_px", "field_width_px", "stride_y_px", "stride_x_px", "start_y_px", "start_x_px", "reason")


def layer_rows(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a layer, in the order of the pass, the target itself last."""
    return [{**layer, "layer": layer["layer"] or "(output)"} for layer in layers]


def layers_table(rows: Sequence[Mapping[str, Any]], every: bool = False) -> tuple[Table, int]:
    """The table, and how many layers were left out because they see just what the row above sees."""
    table = Table("layer", "what", "output", "field (px)", "stride (px)", "start (px)", box=None, header_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    shown = [row for index, row in enumerate(rows) if every or index == len(rows) - 1 or _differs(rows, index)]
    for row in shown:
        size = f"{row['channels']} × {row['height']} × {row['width']}"
        name = Text(row["layer"])
        if row["field_height_px"] is None:
            table.add_row(name, row["kind"], size, Text(row["reason"]))
            continue
        field, stride, start = (_pair(row, *names) for names in (_FIELD[:2], _FIELD[2:4], _FIELD[4:6]))
        table.add_row(name, row["kind"], size, field, stride, start)
    return table, len(rows) - len(shown)


def _differs(rows: Sequence[Mapping[str, Any]], index: int) -> bool:
    return index == 0 or any(rows[index][name] != rows[index - 1][name] for name in _FIELD)


def _pair(row: Mapping[str, Any], along_y: str, along_x: str) -> str:
    first, second = ("–" if row[name] is None else f"{row[name]:g}" for name in (along_y, along_x))
    return first if first == second else f"{first} × {second}"
