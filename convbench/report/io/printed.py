"""Tables for readers, which Markdown and LaTeX hold: chosen columns, rounded as in the terminal, doubt marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from convbench.records import DESCRIPTIONS, Record
from convbench.report.columns import SUMMARY, constant_columns, figure, filled_columns, interval_text
from convbench.report.io.cells import tables_of, text
from convbench.report.io.document import Report
from convbench.report.plots.points import points
from convbench.report.units import significant

EVERY = ("all",)
"""What stands for every filled column."""
_MARKS = {
    "noisy": "~: other work disturbed the measurement",
    "invalid": "!: disturbed so much that it is not to be used",
}
_OWN_UNIT = ("count", "bytes", "milliseconds", "text")


@dataclass(frozen=True, slots=True)
class Printed:
    """A table of texts. name: of a break-down; empty for the records. figures: which columns are right-aligned."""

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[bool]


def printed(report: Report) -> list[Printed]:
    """The records under the columns of `chosen_columns`, then every break-down under its own."""
    columns = chosen_columns(report)
    found = []
    for item in tables_of(report, columns):
        if item.name or not report.records:
            rows = [[_plain(row.get(name)) for name in item.columns] for row in item.rows]
            numbers = [all(isinstance(row.get(name), int | float | None) for row in item.rows) for name in item.columns]
            found.append(Printed(item.name, list(item.columns), rows, numbers))
        else:
            rows = [[_cell(name, record) for name in columns] for record in report.records]
            numbers = [DESCRIPTIONS[name].show != "text" for name in columns]
            found.append(Printed("", list(map(_heading, columns)), rows, numbers))
    return found


def text_table(records: Sequence[Record]) -> str:
    """The records under their chosen columns as lines of text."""
    report = Report(records)
    (content,) = printed(report)
    lines = [content.headings, *content.rows]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(content.headings))]
    aligned = [
        "  ".join(
            " " * (width - cell_len(cell)) + cell if number else cell + " " * (width - cell_len(cell))
            for cell, width, number in zip(line, widths, content.figures, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*aligned, *footnotes(report)])


def chosen_columns(report: Report) -> list[str]:
    """Those that were asked for; else the target, whatever else tells the rows apart, and the figures of a summary."""
    filled = filled_columns(report.records)
    if report.columns == EVERY:
        return filled
    if report.columns:
        return list(report.columns)
    constant = constant_columns(report.records) if len(report.records) > 1 else filled
    naming = [name for name in filled if DESCRIPTIONS[name].role in ("target", "condition") and name not in constant]
    naming = ["target", *(name for name in naming if name not in ("target", "kind"))]
    if all(point.series == point.record.target for point in points(report)):
        naming = [name for name in naming if name != "options"]
    failed = ["status"] if any(record.status != "ok" for record in report.records) else []
    return [*naming, *(name for name in SUMMARY if name in filled), *failed]


def left_out(report: Report) -> list[str]:
    """The filled columns that are not printed."""
    columns = chosen_columns(report)
    return [name for name in filled_columns(report.records) if name not in columns]


def footnotes(report: Report) -> Iterator[str]:
    """The conditions of all, and `doubts`."""
    shared = shared_conditions(report, chosen_columns(report))
    if shared:
        yield "; ".join(f"{title}: {text(value)}" for title, value in shared.items())
    yield from doubts(report)


def doubts(report: Report) -> Iterator[str]:
    """What the marks mean, and what is to be known of each record."""
    for noise, meaning in _MARKS.items():
        if any(record.latency_noise == noise for record in report.records):
            yield meaning
    for record in report.records:
        if record.notes:
            yield f"{record.target}: {record.notes}"


def _heading(name: str) -> str:
    column = DESCRIPTIONS[name]
    if column.summary:
        return column.summary
    return f"{column.title} ({column.unit})" if column.unit and column.show not in _OWN_UNIT else column.title


def _cell(name: str, record: Record) -> str:
    return " ".join(filter(None, (figure(name, record), interval_text(name, record))))


def _plain(value: Any) -> str:
    """A value of a break-down: whole numbers whole."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return f"{value:,}" if isinstance(value, int) else significant(value) if text(value) else ""


def shared_conditions(report: Report, without: Sequence[str]) -> Mapping[str, Any]:
    """What all rows share and the table does not say, by title."""
    records = report.records
    if not records:
        return {}
    names = constant_columns(records) if len(records) > 1 else filled_columns(records)
    return {
        DESCRIPTIONS[name].title: getattr(records[0], name)
        for name in names
        if DESCRIPTIONS[name].role in ("target", "condition") and name not in without and name != "options"
    }
