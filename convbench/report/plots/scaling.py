"""How latency, MACs and memory grow with width and with resolution, each with the exponent of its power law."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from convbench.records import Record
from convbench.report.plots.labels import spread
from convbench.report.plots.panel import (
    Panel,
    Plot,
    figures_of,
    is_doubtful,
    mark,
    most_telling,
    panel_notes,
    short,
    slug,
)
from convbench.report.plots.points import Condition, Point
from convbench.report.plots.power_law import PowerLaw, fit_power_law
from convbench.report.plots.svg import CHARACTER_PX, Frame, LogScale, colour_class, element, path, text

_LINE_PX = 13.0
_PLOT_PX = 190.0
_LEFT_PX = 70.0


@dataclass(frozen=True, slots=True)
class _Figure:
    """What is drawn against width or resolution. title: with its unit."""

    name: str
    title: str
    value: Callable[[Record], float | None]
    tick: Callable[[float], str]
    binary: bool = False
    timed: bool = False


def _binary(value: float) -> str:
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} B"


_FIGURES = (
    _Figure("latency", "latency (ms)", lambda record: record.latency_ms, short, timed=True),
    _Figure("MACs", "MACs", lambda record: record.macs, short),
    _Figure("peak memory", "peak memory", lambda record: record.peak_bytes, _binary, binary=True),
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """key: sorts the axes. title: what x is. x: its value, and fixed: what else must be the same along a curve."""

    key: str
    title: str
    x: Callable[[Point], float | None]
    fixed: Callable[[Point], str]


_AXES = (
    _Axis("dim", "channels (dim)", lambda point: point.dim, lambda point: f"at {_size(point)}, batch {point.batch}"),
    _Axis(
        "size",
        "height and width (px)",
        lambda point: point.size[0] if point.size is not None and point.size[0] == point.size[1] else None,
        lambda point: f"at dim {point.dim}, batch {point.batch}" if point.dim else f"batch {point.batch}",
    ),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """A series along one axis: its points by x, one each, and the law they follow."""

    points: tuple[Point, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    law: PowerLaw | None

    @property
    def series(self) -> str:
        return self.points[0].series


def scaling_curves(points: Sequence[Point]) -> Plot | None:
    """One panel for each width or resolution held fixed; None where no series has two points along either."""
    groups: dict[tuple[str, str, Condition], list[Point]] = {}
    for axis in _AXES:
        for point in points:
            if axis.x(point) is not None:
                groups.setdefault((axis.key, axis.fixed(point), point.condition), []).append(point)
    conditions = dict.fromkeys(point.condition for point in points)
    panels, sizes = [], []
    for (key, fixed, condition), group in groups.items():
        axis = next(item for item in _AXES if item.key == key)
        along = "width" if key == "dim" else "resolution"
        told = condition.told_from(conditions)
        panel = _panel(f"{along}, {fixed}" + (f" · {told}" if told else ""), axis, group)
        if panel is not None:
            panels.append(panel)
            sizes.append(group)
    if not panels:
        return None
    return Plot(
        "scaling",
        "Scaling",
        "How figures grow with width and with resolution; both axes logarithmic, so a power law is a straight line. "
        "Behind each name stands its fitted exponent: 2 means that doubling the width, or the side of the input, costs "
        "four times as much. The fit needs three points; the table gives its 95% interval.",
        tuple(panels),
        most_telling(sizes),
    )


def curves(axis: _Axis, group: Sequence[Point], figure: _Figure) -> list[Curve]:
    """The series of ``group`` that have at least two points with a positive value, in their fixed order."""
    value = figure.value
    by_series: dict[str, dict[float, Point]] = {}
    for point in sorted(group, key=lambda point: point.order):
        at = axis.x(point)
        if at is not None and value(point.record):
            by_series.setdefault(point.series, {})[at] = point
    found = []
    for by_x in by_series.values():
        if len(by_x) > 1:
            x = tuple(sorted(by_x))
            y = tuple(float(value(by_x[at].record) or 0) for at in x)
            found.append(Curve(tuple(by_x[at] for at in x), x, y, _law(figure, by_x, x, y)))
    return found


def _law(figure: _Figure, by_x: Mapping[float, Point], x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The law of the points that may be concluded from."""
    kept = [index for index, at in enumerate(x) if not (figure.timed and is_doubtful(by_x[at].record))]
    return fit_power_law([x[index] for index in kept], [y[index] for index in kept])


def _panel(name: str, axis: _Axis, group: Sequence[Point]) -> Panel | None:
    found = {figure: curves(axis, group, figure) for figure in _FIGURES}
    drawn = {figure: lines for figure, lines in found.items() if lines}
    if not drawn:
        return None
    drawings = tuple(_drawing(name, axis, figure, lines) for figure, lines in drawn.items())
    parts = tuple(slug(figure.name) for figure in drawn)
    return Panel(name, drawings, tuple(panel_notes(group)), f"scaling-{slug(name)}", parts, _exponents(drawn))


def _drawing(name: str, axis: _Axis, figure: _Figure, lines: Sequence[Curve]) -> str:
    names = CHARACTER_PX * (max(len(line.series) for line in lines) + 5) + 18
    height = max(300.0, _LINE_PX * len(lines) + 80)
    frame = Frame(_LEFT_PX + _PLOT_PX + names, height, left=_LEFT_PX, right=names)
    xs = sorted({x for line in lines for x in line.x})
    x = LogScale.around(xs, *frame.x_range, margin=0.06)
    y = LogScale.around([value for line in lines for value in line.y], *frame.y_range, margin=0.06)
    ticks = (xs if len(xs) <= 6 else None, y.binary_ticks() if figure.binary else None)
    parts = [frame.axes(x, y, (axis.title, figure.title), (lambda value: f"{value:g}", figure.tick), ticks)]
    parts += [_curve(line, x, y, figure) for line in lines]
    parts.append(_names(lines, x, y, frame))
    return frame.svg("".join(parts), f"{figure.name} against {axis.title}, {name}")


def _curve(line: Curve, x: LogScale, y: LogScale, figure: _Figure) -> str:
    places = [(x(at), y(value)) for at, value in zip(line.x, line.y, strict=True)]
    order = line.points[0].order
    shown = path(places, f"curve {colour_class(order)}", data_series=str(order))
    if line.law is not None:
        ends = [(x(at), y(line.law(at))) for at in (line.x[0], line.x[-1])]
        shown += path(ends, f"fit {colour_class(order)}", data_series=str(order))
    marks = (
        mark(point, *place, figures_of(point.record), timed=figure.timed)
        for point, place in zip(line.points, places, strict=True)
    )
    return shown + "".join(marks)


def _names(lines: Sequence[Curve], x: LogScale, y: LogScale, frame: Frame) -> str:
    """Each series' name and exponent right of the frame, as near to the end of its curve as the others allow."""
    right = frame.width - frame.right
    wanted = [y(line.y[-1]) for line in lines]
    places = spread(wanted, _LINE_PX, frame.top + 4, frame.height - frame.bottom + 6)
    parts = []
    for line, end, at in zip(lines, wanted, places, strict=True):
        order = line.points[0].order
        leader = element("line", x1=x(line.x[-1]) + 6, y1=end, x2=right + 12, y2=at, class_="leader")
        exponent = f"  {line.law.exponent:.2f}" if line.law is not None else ""
        name = text(right + 16, at + 4, line.series + exponent, "label")
        parts.append(element("g", leader + name, class_=f"name {colour_class(order)}", data_series=order))
    return "".join(parts)


def _exponents(drawn: dict[_Figure, list[Curve]]) -> tuple[tuple[str, ...], ...]:
    """A header, then a row a series: the exponent of each figure with its interval and R²."""
    laws = {
        figure.name: {line.series: line.law for line in lines if line.law is not None}
        for figure, lines in drawn.items()
    }
    series = dict.fromkeys(name for found in laws.values() for name in found)
    if not series:
        return ()
    header = ("exponent of", *laws)
    rows = [(name, *(_law_text(found.get(name)) for found in laws.values())) for name in series]
    return (header, *rows)


def _law_text(law: PowerLaw | None) -> str:
    return "–" if law is None else f"{law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}], R² {law.r_squared:.3f}"


def _size(point: Point) -> str:
    return "×".join(map(str, point.size)) if point.size is not None else "no image"
