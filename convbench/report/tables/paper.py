"""Published figures beside measured ones, as a terminal table and as rows for files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from decimal import Decimal

    from convbench.paper.result import Comparison, Finding

_COLOURS = {"agrees": "green", "close": "green", "explained": "yellow", "differs": "bold red", "not measured": "red"}


def paper_table(comparisons: Sequence[Comparison]) -> Table:
    """One row a published figure; a number in the last column but one refers to `explanations`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, justify in (
        ("system", "left"),
        ("variant", "left"),
        ("size", "right"),
        ("params (M)", "right"),
        ("measured", "right"),
        ("Δ", "right"),
        ("cost (1e9)", "right"),
        ("measured", "right"),
        ("Δ", "right"),
        ("counted", "left"),
        ("verdict", "left"),
        ("source", "left"),
    ):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    notes = _numbered(comparisons)
    for comparison in comparisons:
        figure = comparison.figure
        number = f" [{notes.index(_reason(comparison)) + 1}]" if _reason(comparison) else ""
        table.add_row(
            Text(figure.system),
            Text(figure.variant),
            str(figure.resolution),
            *_cells(figure.params_m, comparison.params),
            *_cells(figure.gmacs, comparison.gmacs),
            Text(figure.convention.removeprefix("MACs ")),
            Text(comparison.verdict + number, _COLOURS[comparison.verdict]),
            Text(figure.source),
        )
    return table


def explanations(comparisons: Sequence[Comparison]) -> list[str]:
    """``[1] …``: why figures differ, or could not be measured."""
    return [f"[{number}] {reason}" for number, reason in enumerate(_numbered(comparisons), start=1)]


def paper_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row a published figure, numbers unrounded."""
    return [_row(comparison) for comparison in comparisons]


def _numbered(comparisons: Sequence[Comparison]) -> list[str]:
    return list(dict.fromkeys(filter(None, map(_reason, comparisons))))


def _reason(comparison: Comparison) -> str:
    """What the reader must know beside the verdict; a figure that agrees needs no explanation."""
    return comparison.error or (comparison.figure.explanation if comparison.verdict != "agrees" else "")


def _cells(published: Decimal | None, finding: Finding | None) -> tuple[str, str, str]:
    shown = "–" if published is None else str(published)
    if finding is None:
        return shown, "–", "–"
    digits = max(-int(finding.published.as_tuple().exponent), 0) + 1
    return shown, f"{finding.measured:,.{digits}f}", f"{finding.difference:+.1%}"


def _row(comparison: Comparison) -> dict[str, Any]:
    figure, params, gmacs = comparison.figure, comparison.params, comparison.gmacs
    return {
        "system": figure.system,
        "variant": figure.variant,
        "target": figure.target,
        "options": dict(figure.options),
        "resolution": figure.resolution,
        "published_params_m": _number(figure.params_m),
        "measured_params_m": params.measured if params else None,
        "params_difference": params.difference if params else None,
        "params_verdict": params.verdict if params else None,
        "convention": figure.convention,
        "published_gmacs": _number(figure.gmacs),
        "measured_gmacs": gmacs.measured if gmacs else None,
        "gmacs_difference": gmacs.difference if gmacs else None,
        "gmacs_verdict": gmacs.verdict if gmacs else None,
        "verdict": comparison.verdict,
        "top1": _number(figure.top1),
        "source": figure.source,
        "notes": figure.notes or None,
        "explanation": figure.explanation or None,
        "error": comparison.error or None,
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
