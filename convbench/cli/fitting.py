"""A table within the width of a terminal: its prose folded, else its columns dealt out to several tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Column, Table

_GAP = 2
"""Between columns; tables have no frame."""
_LEAST_PROSE = 24
"""The narrowest column in which a sentence can still be read."""


class Trimmed:
    """A table without the blanks that fill its lines up, which a narrower terminal would wrap into empty lines."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self._table, options, pad=False):
            while line and not line[-1].text.rstrip():
                line.pop()
            if line:
                last = line.pop()
                line.append(last._replace(text=last.text.rstrip()))
            yield from line
            yield Segment.line()


def fitted(table: Table, width: int) -> list[Table]:
    """``table`` as tables that are at most ``width`` columns of the terminal wide.

    The widest column of text is folded where that leaves enough of it to read. Else the columns are dealt out to
    several tables, each of which begins with the first column again.
    """
    widths = [needed_width(column) for column in table.columns]
    if _total(widths) <= width:
        return [table]
    texts = [index for index, column in enumerate(table.columns) if index and column.justify == "left"]
    if texts:
        prose = max(texts, key=lambda index: widths[index])
        left = width - _total(widths) + widths[prose]
        if left >= _LEAST_PROSE:
            return [_part(table, range(len(widths)), {prose: left})]
    first = min(widths[0], max(1, width // 2))
    room = max(1, width - first - _GAP)
    narrowed = [first, *(min(needed, room) for needed in widths[1:])]
    return [_part(table, (0, *chosen), dict(enumerate(narrowed))) for chosen in _dealt(narrowed, width)]


def needed_width(column: Column) -> int:
    """Columns of the terminal that ``column`` takes when nothing is folded."""
    texts = [str(cell) for cell in (column.header, *column.cells)]
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _dealt(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Every column but the first, in lots that fit beside it."""
    lot: list[int] = []
    for index in range(1, len(widths)):
        if lot and _total([widths[column] for column in (0, *lot, index)]) > width:
            yield lot
            lot = []
        lot.append(index)
    yield lot


def _part(table: Table, chosen: Sequence[int], widths: dict[int, int]) -> Table:
    """The chosen columns of a table; ``widths``: of those that are folded to it."""
    part = Table(box=None, header_style=table.header_style, pad_edge=False)
    for place, index in enumerate(chosen):
        column = replace(table.columns[index], _index=place)
        column.width, column.overflow, column.no_wrap = widths.get(index), "fold", index not in widths
        part.columns.append(column)
    cells = [list(table.columns[index].cells) for index in chosen[1:]]
    kept = [row for row in range(table.row_count) if len(chosen) == len(table.columns) or any(c[row] for c in cells)]
    for column in part.columns:
        column._cells = [column._cells[row] for row in kept]
    part.rows = [table.rows[row] for row in kept]
    return part
