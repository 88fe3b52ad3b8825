"""GitHub-flavoured Markdown: one table of the filled columns, then one a break-down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.report.columns import filled_columns
from convbench.report.io.cells import keys, rows_of, text
from convbench.report.io.document import Report

# What starts markup: an underscore does so beside a space or punctuation only, an ampersand in an entity only.
_SPECIAL = re.compile(r"[\\|*`~\[\]]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def to_markdown(report: Report) -> dict[str, str]:
    """The report as one document."""
    columns = list(report.columns) or filled_columns(report.records)
    parts = [table(columns, rows_of(report.records))]
    parts += [f"## {escape(name)}\n\n{table(keys(rows), rows)}" for name, rows in report.sections.items()]
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
    value = _ENTITY.sub("&amp;", " ".join(value.split())).replace("<", "&lt;")
    return _SPECIAL.sub(lambda match: "\\" + match.group(), value)


def code(value: str) -> str:
    """``value`` as a code span: fenced by one backtick more than it holds in a row."""
    fence = "`" * (max((len(run) for run in re.findall("`+", value)), default=0) + 1)
    pad = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{pad}{value}{pad}{fence}"
