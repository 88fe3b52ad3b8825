"""A plot in as many panels as there are groups of comparable cases, of which a page shows one at a time."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from convbench.records import Record
from convbench.report.plots.labels import place_labels
from convbench.report.plots.points import Condition, Point
from convbench.report.plots.svg import CHARACTER_PX, Frame, colour_class, element, escape, marker, text
from convbench.report.units import bytes_, count, milliseconds, significant


@dataclass(frozen=True, slots=True)
class Panel:
    """name: what it shows, as a choice among others. drawings: SVG, side by side. notes: what a reader must know.

    slug: name of its file; parts: what tells its drawings' files apart. table: figures that belong under it, the first
    row being the header. whole: whether the drawings are SVG files of their own, with colours of their own.
    """

    name: str
    drawings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    slug: str = ""
    parts: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    whole: bool = False

    @property
    def markup(self) -> tuple[str, ...]:
        """The drawings as a page holds them: as an image where their names could meet those of the page."""
        if not self.whole:
            return self.drawings
        sources = [base64.b64encode(drawing.encode()).decode() for drawing in self.drawings]
        alt = escape(self.name)
        return tuple(f'<img class="plot" alt="{alt}" src="data:image/svg+xml;base64,{code}">' for code in sources)


@dataclass(frozen=True, slots=True)
class Plot:
    """key: names its place on a page. chosen: the panel shown first."""

    key: str
    title: str
    explanation: str
    panels: tuple[Panel, ...]
    chosen: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Points that share a panel. whole: all inputs of a condition, which show a trend but are not to be ranked."""

    name: str
    condition: Condition
    points: tuple[Point, ...]
    whole: bool = False


def grouped(points: Iterable[Point]) -> list[Group]:
    """For every condition one group an input, after one of all inputs where there are several.

    Beside that one, an input with a single point gets no group of its own.
    """
    conditions: dict[Condition, dict[str, list[Point]]] = {}
    for point in points:
        conditions.setdefault(point.condition, {}).setdefault(point.record.input_shape or "no input", []).append(point)
    groups = []
    for condition, inputs in conditions.items():
        told = condition.told_from(conditions)
        suffix = f" · {told}" if told else ""
        if len(inputs) > 1:
            every = tuple(point for found in inputs.values() for point in found)
            groups.append(Group(f"every input{suffix}", condition, every, whole=True))
        groups += [
            Group(shape.replace("x", "×") + suffix, condition, tuple(found))
            for shape, found in sorted(inputs.items(), key=lambda item: _extents(item[0]))
            if len(inputs) == 1 or len(found) > 1
        ]
    return groups


def chosen_group(groups: Sequence[Group]) -> int:
    """The group to show first: one input if there is one that tells something."""
    single = [index for index, group in enumerate(groups) if not group.whole]
    return single[most_telling([groups[index].points for index in single])] if single else 0


def most_telling(groups: Sequence[Sequence[Point]]) -> int:
    """The group with the most points; of several, the one in the middle by MACs."""
    most = max(map(len, groups))
    fullest = [index for index, group in enumerate(groups) if len(group) == most]
    fullest.sort(key=lambda index: sum(point.record.macs or 0 for point in groups[index]))
    return fullest[len(fullest) // 2]


def mark(point: Point, x: float, y: float, figures: Mapping[str, str], *, timed: bool = True, before: str = "") -> str:
    """A point's marker, with what it stands for, and with the row and series that a page's script finds it by.

    timed: whether it shows a latency, and so fades where that is doubtful.
    """
    lines = [
        f"{point.series}  {point.record.input_shape or ''}",
        *(f"{key}: {value}" for key, value in figures.items()),
    ]
    title = element("title", "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;"))
    classes = f"mark {colour_class(point.order)}{' hollow' if point.record.uncounted else ''}"
    classes += " doubtful" if timed and is_doubtful(point.record) else ""
    content = title + before + marker(point.order, x, y)
    return element(
        "g", content, class_=classes, data_row=point.row, data_series=point.order, data_x=x, data_y=y, tabindex=0
    )


def is_doubtful(record: Record) -> bool:
    """Whether the latency was judged invalid: it is shown faded, and nothing is concluded from it."""
    return bool(record.latency_noise == "invalid")


def panel_notes(points: Iterable[Point]) -> list[str]:
    """What the markers' looks say, where they differ."""
    records = [point.record for point in points]
    notes = []
    if any(map(is_doubtful, records)):
        notes.append("Faded: too much else ran on the machine, so the latency is invalid and nothing follows from it.")
    if any(record.uncounted for record in records):
        notes.append("Hollow: some operators have no cost formula, so MACs and FLOPs are lower bounds.")
    return notes


def framed(group: Group) -> Frame:
    """The frame of a group's drawing, with room for a legend where points are not named one by one."""
    if not group.whole:
        return Frame(1060, 540)
    longest = max(len(point.series) for point in group.points)
    return Frame(
        1060, max(540, 18 * len({point.order for point in group.points}) + 60), right=CHARACTER_PX * longest + 40
    )


def point_names(
    group: Group,
    points: Sequence[Point],
    places: Sequence[tuple[float, float]],
    frame: Frame,
    strong: Sequence[int] = (),
    line: Sequence[tuple[float, float]] = (),
) -> str:
    """The series of each point beside its marker, or a legend for a whole group.

    strong: indices to stress. line: what the names should not cover.
    """
    (left, right), (bottom, top) = frame.x_range, frame.y_range
    if group.whole:
        return series_legend(points, right + 16, top + 12)
    bounds = left + 2, top + 2, right - 2, bottom - 2
    labels = place_labels(places, [point.series for point in points], bounds, line)
    parts = []
    for index, (point, (x, y), label) in enumerate(zip(points, places, labels, strict=True)):
        leader = element("line", x1=x, y1=y, x2=label.x, y2=label.y - 4, class_="leader") if label.far else ""
        anchor = "end" if label.anchor == "end" else None
        name = text(label.x, label.y, point.series, "label strong" if index in strong else "label", anchor)
        classes = f"name {colour_class(point.order)}"
        parts.append(element("g", leader + name, class_=classes, data_row=point.row, data_series=point.order))
    return "".join(parts)


def series_legend(points: Iterable[Point], x: float, y: float) -> str:
    """The marker and the name of each series, one under the other from (x, y)."""
    series = sorted({point.order: point.series for point in points}.items())
    return "".join(
        element(
            "g",
            marker(order, x, y + 18 * line) + text(x + 12, y + 18 * line + 4, name, "label"),
            class_=f"name {colour_class(order)}",
            data_series=order,
        )
        for line, (order, name) in enumerate(series)
    )


def slug(name: str) -> str:
    """``name`` as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name.replace("×", "x")).strip("-")


def latency_text(record: Record) -> str:
    """Such as ``1.234 ms  95% [1.230 ms, 1.241 ms]``."""
    about = "~" if record.latency_noise == "noisy" else ""
    interval = (
        f"  95% [{milliseconds(record.latency_low_ms)}, {milliseconds(record.latency_high_ms)}]"
        if record.latency_low_ms is not None
        else ""
    )
    return about + milliseconds(record.latency_ms) + interval


def figures_of(record: Record) -> dict[str, str]:
    """What a tooltip says of a case; nothing of what was not measured."""
    bound = "≥ " if record.uncounted else ""
    figures = {
        "latency": latency_text(record) if record.latency_ms is not None else None,
        "MACs": bound + count(record.macs) if record.macs is not None else None,
        "FLOPs": bound + count(record.flops) if record.flops is not None else None,
        "peak memory": bytes_(record.peak_bytes) if record.peak_bytes is not None else None,
        "intensity": f"{significant(record.arithmetic_intensity)} FLOP/B" if record.arithmetic_intensity else None,
        "noise": record.latency_noise,
    }
    return {key: value for key, value in figures.items() if value is not None}


def short(value: float) -> str:
    """A tick label: ``10 M``, ``0.5``, ``2``."""
    for scale, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= scale:
            return f"{value / scale:.3g}{prefix}"
    return f"{value:.3g}" if value >= 1e-4 else f"{value:.0e}"


def rate_text(value: float, unit: str) -> str:
    """Such as ``12.5 GFLOP/s``."""
    number, _, prefix = short(value).partition(" ")
    return f"{number} {prefix}{unit}"


def _extents(shape: str) -> tuple[int, ...]:
    return tuple(int(part) for part in shape.replace(";", "x").split("x") if part.isdigit())
