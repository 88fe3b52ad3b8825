r"""LaTeX: a table with booktabs rules, ready to \input. Numbers stay raw, in \num, which siunitx rounds and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convbench.records import DESCRIPTIONS, column_types
from convbench.report.columns import SUMMARY, constant_columns, filled_columns
from convbench.report.io.cells import tables_of, text
from convbench.report.io.document import Report
from convbench.report.plots.points import points
from convbench.text import one_line

_INTERVALS = {
    "latency_ms": ("latency_low_ms", "latency_high_ms"),
    "ratio": ("ratio_low", "ratio_high"),
    "device_latency_ms": ("device_latency_low_ms", "device_latency_high_ms"),
    "device_ratio": ("device_ratio_low", "device_ratio_high"),
    "verdict": ("margin",),
}
_WITH_INTERVALS = tuple(column for name in SUMMARY for column in (name, *_INTERVALS.get(name, ())))
_PREAMBLE = r"""% Needs \usepackage{booktabs}. The numbers are raw; with \usepackage{siunitx}, this line rounds them:
%   \sisetup{round-mode = figures, round-precision = 4, group-separator = {,}, group-minimum-digits = 4}
\providecommand{\num}[2][]{#2}
"""
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        '"': r"\char34{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "`": r"\textasciigrave{}",
        "'": r"\textquotesingle{}",
        "×": r"\ensuremath{\times}",
        "−": r"\ensuremath{-}",
        "σ": r"\ensuremath{\sigma}",
        "·": r"\ensuremath{\cdot}",
        "–": r"\textendash{}",
        "…": r"\ldots{}",
        "µ": r"\textmu{}",
    }
)


def to_latex(report: Report) -> dict[str, str]:
    """The report as one file of ``table`` environments.

    Without ``report.columns`` the table holds what a paper prints; a comment names the columns left out.
    """
    columns = list(report.columns) or summary_columns(report)
    tables = [
        _table(item.columns, item.rows, escape(item.name) if item.name else _caption(report, columns))
        for item in tables_of(report, columns)
    ]
    return {"": "\n".join([_comments(report, columns), _PREAMBLE, *tables])}


def summary_columns(report: Report) -> list[str]:
    """The target, whatever else tells the rows apart, and the filled figures that a paper prints."""
    filled, constant = filled_columns(report.records), set(constant_columns(report.records))
    naming = [name for name in filled if DESCRIPTIONS[name].role in ("target", "condition") and name not in constant]
    naming = ["target", *(name for name in naming if name not in ("target", "kind"))]
    if all(point.series == point.record.target for point in points(report)):
        naming = [name for name in naming if name != "options"]
    failed = ["status"] if any(record.status != "ok" for record in report.records) else []
    return [*naming, *(name for name in _WITH_INTERVALS if name in filled), *failed]


def escape(value: str) -> str:
    """``value`` as LaTeX text that prints the same characters; control characters, which stop LaTeX, by escapes."""
    return one_line(value).translate(_ESCAPES)


def _comments(report: Report, columns: Sequence[str]) -> str:
    left_out = [name for name in filled_columns(report.records) if name not in columns]
    lines = [f"Made by: {report.command}"] if report.command else []
    if left_out:
        lines.append(f"Columns left out: {', '.join(left_out)}")
    return "".join(f"% {one_line(line)}\n" for line in lines)


def _caption(report: Report, columns: Sequence[str]) -> str:
    """What all rows share and the table does not say."""
    shared = [
        name
        for name in (constant_columns(report.records) if len(report.records) > 1 else filled_columns(report.records))
        if DESCRIPTIONS[name].role in ("target", "condition") and name not in columns and name != "options"
    ]
    first = report.records[0] if report.records else None
    return "; ".join(f"{DESCRIPTIONS[name].title}: {escape(text(getattr(first, name)))}" for name in shared)


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], caption: str) -> str:
    rows = list(rows)
    numeric = [_is_numeric(name, rows) for name in columns]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}.}}" if caption else "",
        rf"\begin{{tabular}}{{@{{}}{''.join('r' if number else 'l' for number in numeric)}@{{}}}}",
        r"\toprule",
        " & ".join(map(_heading, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(_cell(row.get(name)) for name in columns) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _heading(name: str) -> str:
    column = DESCRIPTIONS.get(name)
    if column is None:
        return escape(name)
    return escape(f"{column.title} ({column.unit})" if column.unit else column.title)


def _cell(value: Any) -> str:
    shown = text(value)
    return (
        rf"\num{{{shown}}}"
        if shown and isinstance(value, int | float) and not isinstance(value, bool)
        else escape(shown)
    )


def _is_numeric(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    if name in column_types():
        return column_types()[name] is not str
    return all(isinstance(row.get(name), int | float | None) for row in rows)
