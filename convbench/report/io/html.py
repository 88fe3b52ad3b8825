"""One self-contained page."""

from __future__ import annotations

from convbench.report.io.document import Report
from convbench.report.page.page import render_page


def to_html(report: Report) -> dict[str, str]:
    """The page."""
    return {"": render_page(report)}
