"""Records as an interactive session shows them: a line, a small table, a picture."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convbench.records import DESCRIPTIONS, Record
from convbench.report.columns import SUMMARY, figure
from convbench.report.io.document import Report
from convbench.report.io.printed import footnotes, printed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = ("params", "macs", "latency_ms", "peak_bytes")
_BAR_IN = 0.3


def record_text(record: Record) -> str:
    """One line: what was measured, and the figures of a summary."""
    figures = [
        f"{DESCRIPTIONS[name].summary} {figure(name, record)}" for name in SUMMARY if getattr(record, name) is not None
    ]
    told = figures if record.status == "ok" else [f"{record.status}: {record.error}", *figures]
    place = " ".join(filter(None, (record.input_shape, record.device, record.dtype, record.mode)))
    return f"<Record {record.target} {place}: {', '.join(told) or 'nothing measured'}>"


def records_html(records: Sequence[Record]) -> str:
    """A table of the figures of a summary, and what its reader must know."""
    report = Report(records)
    (content,) = printed(report)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in content.headings)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in content.rows)
    notes = "".join(f"<br>{html.escape(note)}" for note in footnotes(report))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><small>{notes}</small>"


def record_html(record: Record) -> str:
    """`records_html` of one."""
    return records_html([record])


def records_figure(records: Sequence[Record], columns: Sequence[str] | None = None) -> Figure:
    """Horizontal bars, a panel a column: those named, else the filled ones of parameters, MACs, latency and memory.

    A latency carries its 95% interval, and is pale where it is not to be used. Raises ValueError for nothing to draw.
    """
    from matplotlib.figure import Figure

    given: Sequence[str] = columns or _DRAWN
    names = [name for name in given if any(isinstance(getattr(record, name), int | float) for record in records)]
    if not names:
        raise ValueError(f"nothing to draw: no record has a figure in {', '.join(given)}")
    size = (2.6 * len(names) + 1.5, _BAR_IN * len(records) + 1.0)
    drawing = Figure(figsize=size, layout="constrained")
    panels: Any = drawing.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for place, record in enumerate(records):
            value = getattr(record, name)
            pale = name == "latency_ms" and record.latency_noise == "invalid"
            axes.barh(place, value or 0, xerr=_error(name, record), color="#4878a8", alpha=0.35 if pale else 1.0)
        title = DESCRIPTIONS[name]
        axes.set_xlabel(f"{title.title} ({title.unit})" if title.unit else title.title)
        axes.ticklabel_format(axis="x", style="plain") if name == "latency_ms" else None
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(records)), [record.target for record in records])
    panels[0].invert_yaxis()
    return _shown(drawing)


def _shown(drawing: Figure) -> Figure:
    """A figure that a notebook shows though pyplot does not know it."""

    def png() -> bytes:
        from io import BytesIO

        data = BytesIO()
        drawing.savefig(data, format="png", dpi=120)
        return data.getvalue()

    drawing._repr_png_ = png  # type: ignore[attr-defined]
    return drawing


def _error(name: str, record: Record) -> Any:
    if name != "latency_ms" or record.latency_low_ms is None or record.latency_high_ms is None:
        return None
    return [[record.latency_ms - record.latency_low_ms], [record.latency_high_ms - record.latency_ms]]
