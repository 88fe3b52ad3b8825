"""Plots of records as SVG: one module a plot, one function each that turns points into panels."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.report.io.document import Report
from convbench.report.plots.panel import Plot
from convbench.report.plots.peaks import known_peaks
from convbench.report.plots.points import points
from convbench.report.plots.roofline import roofline
from convbench.report.plots.scaling import scaling_curves
from convbench.report.plots.scatter import latency_scatter
from convbench.report.plots.svg import standalone

__all__ = ["Plot", "draw_plots", "plot_files"]


def draw_plots(report: Report) -> list[Plot]:
    """Every plot that the records and fields allow."""
    shown = points(report)
    plots = [latency_scatter(shown), scaling_curves(shown), roofline(shown, known_peaks(report))]
    if report.fields:
        from convbench.report.plots.receptive_fields import field_plot  # matplotlib, only where it draws

        plots.append(field_plot(report))
    return [plot for plot in plots if plot is not None]


def plot_files(plots: Sequence[Plot]) -> dict[str, str]:
    """Every drawing of every panel as an SVG file of its own: name → content."""
    found: dict[str, str] = {}
    for plot in plots:
        for panel in plot.panels:
            for index, drawing in enumerate(panel.drawings):
                part = f"-{panel.parts[index]}" if panel.parts else ""
                found[f"{panel.slug}{part}.svg"] = drawing if panel.whole else standalone(drawing)
    return found
