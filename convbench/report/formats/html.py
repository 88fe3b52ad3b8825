"""One self-contained page."""

from __future__ import annotations

from convbench.report.document import Report
from convbench.report.page import render_page


def to_html(report: Report) -> dict[str, str]:
    """The page."""
    return {"": render_page(report)}
