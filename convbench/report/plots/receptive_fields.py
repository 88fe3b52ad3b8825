"""The receptive fields of a report: one picture, as a file and on a page."""

from __future__ import annotations

from convbench.errors import OutputError
from convbench.pictures.figure import picture
from convbench.report.io.document import Report
from convbench.report.plots.panel import Panel, Plot


def to_png(report: Report) -> dict[str, bytes]:
    """All fields in one picture."""
    return _file(report, "png")


def to_svg(report: Report) -> dict[str, bytes]:
    """The same in vectors."""
    return _file(report, "svg")


def to_pdf(report: Report) -> dict[str, bytes]:
    """The same as a page."""
    return _file(report, "pdf")


def field_plot(report: Report) -> Plot | None:
    """All fields in one picture; None without any."""
    if not report.fields:
        return None
    drawn = picture(report.fields, "svg", report.drawing).decode()
    commands = dict.fromkeys(field.command for field in report.fields if field.command)
    names = ", ".join(dict.fromkeys(field.label for field in report.fields))
    return Plot(
        "erf",
        "Effective receptive fields",
        "How much each input pixel contributes to the centred output pixel, as a share of the peak. Squares hold 50% "
        "and 99% of the map, circles 50% and 90%; dashed: the theoretical receptive field, where it is known. Each "
        "panel shows its own field: look at the pixels along its foot. Below each, a pixel's mean contribution against "
        "its distance from the centre.",
        (
            Panel(
                f"receptive fields of {names}",
                (drawn,),
                tuple(f"Measured by {command}" for command in commands),
                "erf",
                whole=True,
            ),
        ),
    )


def _file(report: Report, form: str) -> dict[str, bytes]:
    if not report.fields:
        raise OutputError(f"a .{form} file is a picture of receptive fields, and none was measured")
    return {"": picture(report.fields, form, report.drawing)}
