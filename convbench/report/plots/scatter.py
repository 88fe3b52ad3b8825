"""Latency against MACs, with the front of cases that no other one beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.report.plots.panel import (
    Group,
    Panel,
    Plot,
    chosen_group,
    figures_of,
    framed,
    grouped,
    is_doubtful,
    mark,
    panel_notes,
    point_names,
    rate_text,
    short,
    slug,
)
from convbench.report.plots.points import Point
from convbench.report.plots.svg import LogScale, element, path, text

_FARTHEST = 4  # times the median: an interval beyond that is cut off
_MARGIN = 0.12
_SHORTEST_RATE_PX = 80


def latency_scatter(points: Sequence[Point]) -> Plot | None:
    """One panel for each group of cases of the same input and condition; None where nothing was timed and counted."""
    timed = [point for point in points if point.record.latency_ms and point.record.macs is not None]
    groups = [group for group in grouped(timed) if any(point.record.macs for point in group.points)]
    if not groups:
        return None
    panels = tuple(map(_panel, groups))
    return Plot(
        "scatter",
        "Latency against MACs",
        "Median latency of one call with its 95% interval, against executed multiply–accumulates; both axes "
        "logarithmic. The line is the Pareto front: no case on the same input has both fewer MACs and a lower latency "
        "than one on it. Along a dotted diagonal the rate is the same.",
        panels,
        chosen_group(groups),
    )


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the pairs that no other pair undercuts in one value without exceeding it in the other, by first value.

    Equal pairs are all on the front or all off it.
    """
    order = sorted(range(len(costs)), key=lambda index: costs[index])
    front: list[int] = []
    lowest = math.inf
    for index in order:
        if costs[index][1] < lowest or (front and costs[index] == costs[front[-1]]):
            front.append(index)
            lowest = costs[index][1]
    return front


def _panel(group: Group) -> Panel:
    drawn = [point for point in group.points if point.record.macs]
    left_out = [point.series for point in group.points if not point.record.macs]
    costs = [(float(point.record.macs or 0), point.record.latency_ms or 0.0) for point in drawn]
    frame = framed(group)
    x = LogScale.around([macs for macs, _ in costs], *frame.x_range, margin=_MARGIN)
    y = LogScale.around(_latencies(drawn), *frame.y_range, margin=_MARGIN)
    places = [(x(macs), y(latency)) for macs, latency in costs]
    front = [] if group.whole else _trusted_front(drawn, costs)
    steps = front_steps([places[index] for index in front])
    content = (
        frame.axes(x, y, ("MACs", "latency (ms)"), (short, short))
        + _rates(x, y)
        + (path(steps, "front") if front else "")
        + "".join(_mark(point, place, y) for point, place in zip(drawn, places, strict=True))
        + point_names(group, drawn, places, frame, strong=front, line=steps)
    )
    notes = []
    if group.whole:
        notes.append("Inputs differ between the cases, so there is no front here: choose one input for it.")
    if left_out:
        notes.append(f"Without MACs, and so not drawn: {', '.join(dict.fromkeys(left_out))}.")
    notes += panel_notes(drawn)
    best = f"; on the Pareto front: {', '.join(drawn[index].series for index in front)}" if front else ""
    drawing = frame.svg(content, f"Latency against MACs, {group.name}{best}")
    return Panel(group.name, (drawing,), tuple(notes), f"latency-macs-{slug(group.name)}")


def _trusted_front(points: Sequence[Point], costs: Sequence[tuple[float, float]]) -> list[int]:
    trusted = [index for index, point in enumerate(points) if not is_doubtful(point.record)]
    return [trusted[index] for index in pareto_front([costs[index] for index in trusted])]


def front_steps(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the staircase through the front's places: what lies beyond it is beaten by a point on it."""
    steps = list(front[:1])
    for x, y in front[1:]:
        steps += [(x, steps[-1][1]), (x, y)]
    return steps


def _latencies(points: Sequence[Point]) -> list[float]:
    """The medians and the ends of their intervals, those left out that would take the plot from the medians."""
    ends = [
        (record.latency_ms, value)
        for record in (point.record for point in points)
        for value in (record.latency_ms, record.latency_low_ms, record.latency_high_ms)
    ]
    return [value for median, value in ends if value and median / _FARTHEST <= value <= median * _FARTHEST]


def _mark(point: Point, place: tuple[float, float], y: LogScale) -> str:
    low, high = point.record.latency_low_ms, point.record.latency_high_ms
    interval = ""
    if low and high:
        ends = (y(min(max(end, y.low), y.high)) for end in (low, high))  # what lies outside of the frame is cut off
        interval = element("line", x1=place[0], x2=place[0], y1=next(ends), y2=next(ends), class_="interval")
    return mark(point, *place, figures_of(point.record), before=interval)


def _rates(x: LogScale, y: LogScale) -> str:
    """Lines of equal MACs a second, each named where it leaves the frame."""
    parts = []
    low, high = x.low / y.high * 1e3, x.high / y.low * 1e3
    for exponent in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
        rate = 10.0**exponent
        start = max(x.low, rate * y.low / 1e3)
        stop = min(x.high, rate * y.high / 1e3)
        if x(stop) - x(start) < _SHORTEST_RATE_PX:
            continue
        parts.append(path([(x(start), y(start / rate * 1e3)), (x(stop), y(stop / rate * 1e3))], "guide"))
        at_top = stop < x.high * 0.999
        place = (x(stop) - 4, y.stop + 12) if at_top else (x.stop - 4, y(stop / rate * 1e3) - 4)
        parts.append(text(*place, rate_text(rate, "MAC/s"), "guide-label", "end"))
    return "".join(parts)
