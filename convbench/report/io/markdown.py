"""GitHub-flavoured Markdown: one table of the chosen columns, what its reader must know, then one a break-down."""

from __future__ import annotations

import re

from convbench.report.io.document import Report
from convbench.report.io.printed import Printed, footnotes, printed
from convbench.text import one_line

# What starts markup: an underscore does so beside a space or punctuation only, an ampersand in an entity only.
_SPECIAL = re.compile(r"[\\|*`~\[\]]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def to_markdown(report: Report) -> dict[str, str]:
    """The report as one document."""
    first, *rest = printed(report)
    parts = [table(first)]
    notes = [f"- {escape(note)}\n" for note in footnotes(report)]
    parts += ["".join(notes)] if notes else []
    parts += [f"## {escape(item.name)}\n\n{table(item)}" for item in rest]
    if report.command:
        parts.append(f"Made by {code(report.command)}.\n")
    return {"": "\n".join(parts)}


def table(content: Printed) -> str:
    """Rows as a table."""
    rules = [" ---: " if figures else " --- " for figures in content.figures]
    lines = ["| " + " | ".join(map(escape, content.headings)) + " |", "|" + "|".join(rules) + "|"]
    lines += ["| " + " | ".join(map(escape, row)) + " |" for row in content.rows]
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
