"""The roofline: achieved FLOP/s against arithmetic intensity, under the machine's peaks where they are known.

Source: Williams, Waterman and Patterson 2009, Roofline: an insightful visual performance model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convbench.report.plots.panel import (
    Group,
    Panel,
    Plot,
    chosen_group,
    figures_of,
    framed,
    grouped,
    mark,
    panel_notes,
    point_names,
    rate_text,
    short,
    slug,
)
from convbench.report.plots.peaks import Peaks
from convbench.report.plots.points import Condition, Point
from convbench.report.plots.svg import LogScale, path, text

_MARGIN = 0.12


def roofline(points: Sequence[Point], peaks: Mapping[tuple[str, str, int | None, str], Peaks]) -> Plot | None:
    """One panel for each group of the same input and condition; None where nothing was timed and counted.

    peaks: by environment letter, device, number of threads and dtype.
    """
    timed = [point for point in points if point.record.latency_ms and point.record.flops and _intensity(point)]
    drawn = [point for point in timed if _runs_what_is_counted(point)]
    if not drawn:
        return None
    left_out = list(dict.fromkeys(point.series for point in timed if not _runs_what_is_counted(point)))
    groups = grouped(drawn)
    panels = tuple(_panel(group, peaks.get(_machine(group.condition))) for group in groups)
    return Plot(
        "roofline",
        "Roofline",
        "Achieved floating-point operations a second (FLOPs / median latency) against arithmetic intensity "
        "(FLOPs / bytes moved, every operator reading its inputs and writing its outputs once). A case under the "
        "slanted roof is limited by memory, one under the flat roof by arithmetic; what a cache keeps is not moved, so "
        "a small case may stand above the slanted roof."
        + (f" Left out, because fewer operations may run than are counted: {', '.join(left_out)}." if left_out else ""),
        panels,
        chosen_group(groups),
    )


def _runs_what_is_counted(point: Point) -> bool:
    """Whether the target's algorithm needs all that its spelled-out form, which is counted, does."""
    return point.record.algorithmic_macs in (None, point.record.macs)


def _machine(condition: Condition) -> tuple[str, str, int | None, str]:
    dtype = condition.autocast or condition.dtype or ""
    return condition.environment, condition.device or "", condition.threads, dtype


def _panel(group: Group, peaks: Peaks | None) -> Panel:
    values = [(_intensity(point), _achieved(point)) for point in group.points]
    frame = framed(group)
    xs, ys = [x for x, _ in values], [y for _, y in values]
    if peaks is not None:
        xs.append(peaks.ridge)
        ys.append(peaks.flops_per_s)
    x = LogScale.around(xs, *frame.x_range, margin=_MARGIN)
    y = LogScale.around(ys, *frame.y_range, margin=_MARGIN)
    places = [(x(intensity), y(achieved)) for intensity, achieved in values]
    content = (
        frame.axes(x, y, ("arithmetic intensity (FLOP/B)", "achieved FLOP/s"), (short, short))
        + (_roof(peaks, x, y) if peaks is not None else "")
        + "".join(_mark(point, place, peaks) for point, place in zip(group.points, places, strict=True))
        + point_names(group, group.points, places, frame)
    )
    notes = panel_notes(group.points)
    if peaks is None:
        notes.append("No peaks are known for this machine and dtype: convbench calibrate measures them.")
    drawing = frame.svg(content, f"Roofline, {group.name}")
    return Panel(group.name, (drawing,), tuple(notes), f"roofline-{slug(group.name)}")


def _intensity(point: Point) -> float:
    return point.record.arithmetic_intensity or 0.0


def _achieved(point: Point) -> float:
    """FLOP/s."""
    return (point.record.flops or 0) / (point.record.latency_ms or 1.0) * 1e3


def _mark(point: Point, place: tuple[float, float], peaks: Peaks | None) -> str:
    figures = {**figures_of(point.record), "achieved": rate_text(_achieved(point), "FLOP/s")}
    if peaks is not None:
        share = _achieved(point) / peaks.attainable(_intensity(point))
        bound = "arithmetic" if _intensity(point) >= peaks.ridge else "memory"
        figures["of the roof"] = f"{share:.0%} ({bound} bound)"
    return mark(point, *place, figures)


def _roof(peaks: Peaks, x: LogScale, y: LogScale) -> str:
    first = max(x.low, y.low / peaks.bytes_per_s)
    corner = (x(peaks.ridge), y(peaks.flops_per_s))
    line = path([(x(first), y(peaks.attainable(first))), corner, (x.stop, corner[1])], "roof")
    flat = text(x.stop - 6, corner[1] - 6, f"peak {rate_text(peaks.flops_per_s, 'FLOP/s')}", "guide-label", "end")
    halfway = (x(first) + corner[0]) / 2, (y(peaks.attainable(first)) + corner[1]) / 2
    bandwidth = f"bandwidth {rate_text(peaks.bytes_per_s, 'B/s')}"
    slanted = text(halfway[0] - 8, halfway[1] - 6, bandwidth, "guide-label", "end")
    return line + flat + slanted
