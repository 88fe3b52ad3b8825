"""GitHub-flavoured Markdown: one table of the filled columns, then one a break-down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.report.columns import filled_columns
from convbench.report.io.cells import tables_of, text
from convbench.report.io.document import Report
from convbench.text import one_line

# What starts markup: an underscore does so beside a space or punctuation only, an ampersand in an entity only.
_SPECIAL = re.compile(r"[\\|*`~\[\]]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def to_markdown(report: Report) -> dict[str, str]:
    """The report as one document."""
    columns = list(report.columns) or filled_columns(report.records)
    first, *rest = tables_of(report, columns)
    parts = [table(first.columns, first.rows)]
    parts += [f"## {escape(item.name)}\n\n{table(item.columns, item.rows)}" for item in rest]
    if report.command:
        parts.append(f"Made by {code(report.command)}.\n")
    return {"": "\n".join(parts)}


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a table."""
    lines = ["| " + " | ".join(map(escape, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(escape(text(row.get(name))) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def escape(value: str) -> str:
    """``value`` so that it reads as it is inside a table's cell."""
    value = _ENTITY.sub("&amp;", one_line(value)).replace("<", "&lt;")
    return _SPECIAL.sub(lambda match: "\\" + match.group(), value)


def code(value: str) -> str:
    """``value`` as a code span: fenced by one backtick more than it holds in a row."""
    value = one_line(value)
    fence = "`" * (max((len(run) for run in re.findall("`+", value)), default=0) + 1)
    pad = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{pad}{value}{pad}{fence}"
