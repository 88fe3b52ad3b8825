"""How fields grow: their sizes, and how near they come to a Gaussian, over depth or from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from convbench.errors import OptionError
from convbench.pictures.field import Drawing, Field
from convbench.pictures.panels import LARGE_PT, SMALL_PT, heading, line_colour, lines_of, plain

_MARKERS = "os^Dv"
_Style = Literal["-", ":"]
_SIZES: tuple[tuple[str, _Style], ...] = (("σ", "-"), ("theoretical side", ":"))
# Inches.
_HEIGHT, _LINE, _FOOT, _GAP = 1.7, 0.14, 0.36, 0.55


def draw_growth(fields: Sequence[Field], drawing: Drawing) -> Figure:
    """Two panels: σ and the side of the theoretical field, and AGD, over depth where there are several, else layers.

    Raises OptionError where there is nothing to grow: a single depth and a single layer.
    """
    depths = sorted({field.depth for field in fields})
    layers = list(dict.fromkeys(str(field.setup.get("layer")) for field in fields))
    if len(depths) == 1 and len(layers) == 1:
        raise OptionError("growth needs several depths or layers: --depth 1,2,4,8 or --layer more than once")
    by_depth = len(depths) > 1
    series: dict[str, list[tuple[float, Field]]] = {}
    for field in fields:
        layer = str(field.setup.get("layer"))
        name = field.label if by_depth else field.label.removesuffix(f" {layer}")
        series.setdefault(name, []).append((field.depth if by_depth else layers.index(layer), field))
    head = lines_of(heading(fields).split(" "), LARGE_PT, drawing.width_in - 0.2, " ") if drawing.heading else []
    handles = [
        Line2D([], [], color=line_colour(index), marker=_MARKERS[index % 5], markersize=3, label=plain(name))
        for index, name in enumerate(series)
    ]
    handles += [Line2D([], [], color="0.3", linestyle=style, label=name) for name, style in _SIZES]
    per_row = max(int(drawing.width_in / 1.6), 1)
    foot = _FOOT + (0.04 * max(map(len, layers)) if not by_depth and _slanted(layers) else 0.0)
    top, keys = 0.08 + _LINE * len(head), _LINE * -(-len(handles) // per_row)
    height = top + 0.08 + _HEIGHT + foot + keys + 0.1
    figure = Figure(figsize=(drawing.width_in, height))
    for index, line in enumerate(head):
        figure.text(0.5, 1 - (0.06 + index * _LINE) / height, line, ha="center", va="top", fontsize=LARGE_PT)
    width = (drawing.width_in - 2 * _GAP - 0.1) / 2
    bottom = (keys + 0.1 + foot) / height
    places = [
        ((_GAP + index * (width + _GAP)) / drawing.width_in, bottom, width / drawing.width_in, _HEIGHT / height)
        for index in range(2)
    ]
    sizes, scores = (figure.add_axes(place) for place in places)
    for index, points in enumerate(series.values()):
        points.sort(key=lambda point: point[0])
        _draw_sizes(sizes, index, points)
        _draw_line(scores, index, [(x, field.figures.get("agd")) for x, field in points], "-")
    sizes.set_yscale("log")
    sizes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    sizes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    sizes.yaxis.set_minor_locator(NullLocator())
    sizes.set_ylabel("size (px)", fontsize=SMALL_PT, labelpad=1)
    scores.set_ylim(top=1 + 0.04 * (1 - scores.get_ylim()[0]))
    scores.set_ylabel("AGD (1 = Gaussian)", fontsize=SMALL_PT, labelpad=1)
    for axes in (sizes, scores):
        _finish(axes, depths if by_depth else layers, by_depth)
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=per_row, frameon=False,
                  fontsize=SMALL_PT, columnspacing=1.2, labelspacing=0.35, borderpad=0.2)  # fmt: skip
    return figure


def _draw_sizes(axes: Axes, index: int, points: Sequence[tuple[float, Field]]) -> None:
    for (_, style), size in zip(_SIZES, (_sigma, _theoretical), strict=True):
        _draw_line(axes, index, [(x, size(field)) for x, field in points], style)


def _sigma(field: Field) -> float | None:
    return field.figures.get("sigma_px") or None  # 0 has no logarithm


def _theoretical(field: Field) -> float | None:
    return None if field.extent is None else float((field.extent[0] * field.extent[1]) ** 0.5)


def _draw_line(axes: Axes, index: int, points: Sequence[tuple[float, float | None]], style: _Style) -> None:
    known = [(x, y) for x, y in points if y is not None]
    axes.plot(
        [x for x, _ in known], [y for _, y in known],
        color=line_colour(index), linestyle=style, linewidth=1.0, marker=_MARKERS[index % 5], markersize=2.5,
    )  # fmt: skip


def _slanted(ticks: Sequence[int] | Sequence[str]) -> bool:
    """Whether names of layers are too long to stand side by side."""
    return max(len(str(tick)) for tick in ticks) > 8


def _finish(axes: Axes, ticks: Sequence[int] | Sequence[str], by_depth: bool) -> None:
    if by_depth:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("blocks stacked", fontsize=SMALL_PT, labelpad=1)
    else:
        axes.set_xticks(range(len(ticks)), [plain(str(tick)) for tick in ticks])
        axes.margins(x=0.1)
        if _slanted(ticks):
            axes.tick_params(axis="x", labelrotation=30)
        axes.set_xlabel("layer", fontsize=SMALL_PT, labelpad=1)
    axes.tick_params(length=1.8, pad=1.2, labelsize=SMALL_PT)
    axes.grid(alpha=0.25, linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
