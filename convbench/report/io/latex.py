r"""LaTeX: a table to \input, or to compile as it is. It needs no package; booktabs, where loaded, draws the rules."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.report.io.cells import text
from convbench.report.io.document import Report
from convbench.report.io.printed import Printed, chosen_columns, doubts, left_out, printed, shared_conditions
from convbench.text import one_line

# Inside a document LaTeX's \@nodocument, the error before its beginning, is \relax.
_BEGIN = r"""\expandafter\ifx\csname @nodocument\endcsname\relax\else
\documentclass{article}\begin{document}\def\endofthistable{\end{document}}\fi
\providecommand{\toprule}{\hline}\providecommand{\midrule}{\hline}\providecommand{\bottomrule}{\hline}
"""
_END = r"""\csname endofthistable\endcsname
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
    """The report as one file of ``table`` environments; comments name the columns left out, and say the notes."""
    caption = "; ".join(
        f"{title}: {escape(text(value))}" for title, value in shared_conditions(report, chosen_columns(report)).items()
    )
    tables = [_table(item, escape(item.name) if item.name else caption) for item in printed(report)]
    return {"": "\n".join([_comments(report), _BEGIN, *tables, _END])}


def escape(value: str) -> str:
    """``value`` as LaTeX text that prints the same characters; control characters, which stop LaTeX, by escapes."""
    return one_line(value).translate(_ESCAPES)


def _comments(report: Report) -> str:
    lines = [f"Made by: {report.command}"] if report.command else []
    without = left_out(report)
    if without:
        lines.append(f"Columns left out: {', '.join(without)}")
    return "".join(f"% {one_line(line)}\n" for line in [*lines, *doubts(report)])


def _table(content: Printed, caption: str) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}.}}" if caption else "",
        rf"\begin{{tabular}}{{@{{}}{''.join('r' if number else 'l' for number in content.figures)}@{{}}}}",
        r"\toprule",
        _row(content.headings),
        r"\midrule",
        *map(_row, content.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
