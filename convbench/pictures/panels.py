"""The panels of a picture of receptive fields: a map with its marks, a radial profile, captions, keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from convbench.pictures.field import Field
from convbench.text import one_line

ColourScale = Literal["log", "linear"]

DECADES = 4
"""Depth of the logarithmic colour scale below the peak."""
SMALL_PT, LARGE_PT = 6.0, 7.0
"""Sizes of type: in print none may be smaller than 6 points."""
_MAP = "magma"  # even in lightness, so that it survives colour blindness and grey printing
_ZERO, _OUTSIDE, _BELOW = "#aeb6c2", "#ffffff", "#000000"
_FIELD, _CIRCLE = "#56b4e9", "#7fe0a0"
_LINES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito's palette
_STYLES = {50: "-", 90: "--", 99: ":"}
_SQUARES, _CIRCLES = (99, 50), (90, 50)
_EDGE = [withStroke(linewidth=1.7, foreground="black")]
_WIDTH_PT, _GAP_PT = 0.8, 2.2
_WORDS = {
    "abs": "mean |gradient|",
    "square": "mean gradient²",
    "relu": "mean max(gradient, 0)",
    "signs": "random ±1 over output channels",
    "ones": "sum over output channels",
}


def colour_map() -> Colormap:
    """The map's colours: black below the scale's foot, grey where the map is exactly zero."""
    found: Colormap = mpl.colormaps[_MAP].with_extremes(bad=_ZERO, under=_BELOW)
    return found


def norm(scale: ColourScale) -> Normalize:
    """From contribution over peak to colour, the same for every map."""
    return LogNorm(10.0**-DECADES, 1.0) if scale == "log" else Normalize(0.0, 1.0)


def line_colour(index: int) -> str:
    """Of the index-th depth."""
    return _LINES[index % len(_LINES)]


def half_window(field: Field) -> float:
    """Pixels on each side of the centre that show a field: all of a theoretical one unless little of it is used."""
    y, x = field.centre
    height, width = field.map.shape
    image = max(y, x, height - 1 - y, width - 1 - x) + 0.5
    used = [2 * (field.figures.get("radius_99_px") or 0), field.figures.get("side_99_px") or 0]
    side = max(used) or float(max(field.map.shape))
    if field.extent is not None and max(field.extent) <= 3 * side:
        side = max(side, *field.extent)
    return float(min(1.1 * side / 2 + 0.5, image))


def draw_map(axes: Axes, field: Field, scale: ColourScale, half: float, side_in: float) -> None:
    """The map over its peak around the field's centre, with the theoretical field, squares and circles.

    half: pixels to show on each side. side_in: of the panel, in inches.
    """
    y, x = field.centre
    rows, columns = (
        slice(max(math.floor(middle - half), 0), min(math.ceil(middle + half) + 1, size))
        for middle, size in zip((y, x), field.map.shape, strict=True)
    )
    shares = field.map[rows, columns] / field.map.max()
    top, left = rows.start - 0.5 - y, columns.start - 0.5 - x
    axes.imshow(
        np.ma.masked_equal(shares, 0.0),
        cmap=colour_map(),
        norm=norm(scale),
        interpolation="nearest",
        extent=(left, left + shares.shape[1], top + shares.shape[0], top),
    )
    axes.set_facecolor(_OUTSIDE)
    axes.patch.set(hatch="/////", edgecolor="0.8", linewidth=0)
    axes.set_xlim(-half, half)
    axes.set_ylim(half, -half)
    step = _round_step(half)
    axes.set_xticks([-step, 0, step])
    axes.set_yticks([-step, 0, step], ["", "", ""])
    axes.tick_params(length=1.8, pad=1.2, labelsize=SMALL_PT)
    _draw_marks(axes, field, 2 * half / (72 * side_in))


def draw_profile(axes: Axes, fields: Mapping[int, Field], scale: ColourScale, furthest_px: float) -> None:
    """Contribution per pixel over its peak against distance, and the Gaussian of the same width; keys: line colours."""
    for index, field in fields.items():
        shown = field.share > 0
        distance, share = field.distance_px[shown], field.share[shown] / field.share.max()
        axes.plot([*distance, distance[-1] + 0.5], [*share, 1e-12], color=line_colour(index), linewidth=1.1)
        _draw_gaussian(axes, field, furthest_px, line_colour(index))
    axes.set_xlim(0, furthest_px)
    axes.set_xticks([0, _round_step(furthest_px)])
    if scale == "log":
        axes.set_yscale("log")
        axes.set_ylim(10.0 ** -(DECADES + 0.5), 2)
        ticks, names = [1e-4, 1e-2, 1.0], ["10⁻⁴", "10⁻²", "1"]
    else:
        axes.set_ylim(0, 1.08)
        ticks, names = [0.0, 0.5, 1.0], ["0", "0.5", "1"]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter(names))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25, linewidth=0.4)
    axes.tick_params(length=1.8, pad=1.2, labelsize=SMALL_PT)
    axes.spines[["top", "right"]].set_visible(False)


def keys(depths: Sequence[int], fields: Sequence[Field]) -> list[Artist]:
    """What the marks and lines mean, for a legend; nothing that is not drawn."""
    found: list[Artist] = []
    if any(field.extent is not None for field in fields):
        found.append(Line2D([], [], color=_FIELD, linestyle="--", linewidth=1.2, label="theoretical field"))
    found += [_key("white", share, f"square with {share}% (S{share})") for share in reversed(_SQUARES)]
    found += [_key(_CIRCLE, share, f"circle with {share}% (R{share})") for share in reversed(_CIRCLES)]
    if len(depths) > 1:
        found += [
            Line2D([], [], color=line_colour(index), linewidth=1.1, label=depth_name(depth))
            for index, depth in enumerate(depths)
        ]
    found.append(Line2D([], [], color="0.35", linestyle="--", linewidth=0.8, label="Gaussian of the same width"))
    if any((field.map == 0).any() for field in fields):
        found.append(Patch(facecolor=_ZERO, label="exactly zero"))
    return found


def depth_name(depth: int) -> str:
    """``one block``, ``4 blocks``."""
    return "one block" if depth == 1 else f"{depth} blocks"


def caption(field: Field) -> list[str]:
    """The figures under a map, to be set in lines."""
    figures = field.figures
    parts = [f"σ {_number(figures, 'sigma_px', 2)} px"]
    if field.setup.get("mode") == "replknet":
        parts += [f"r{share} {_per_cent(figures.get(f'replknet_r{share}'))}" for share in (20, 30, 50, 99)]
        return [*parts, "(r: RepLKNet's)"]
    parts += [f"R50 {_number(figures, 'radius_50_px', 1)}", f"R90 {_number(figures, 'radius_90_px', 1)}"]
    parts += [f"S50 {_number(figures, 'side_50_px', 0)}", f"S99 {_number(figures, 'side_99_px', 0)}"]
    return [*parts, f"AGD {_number(figures, 'agd', 3)}", _field_text(field)]


def heading(fields: Sequence[Field]) -> str:
    """What was measured and how: everything that makes maps comparable, and in what these differ."""
    sizes = dict.fromkeys(f"{field.map.shape[0]}×{field.map.shape[1]}" for field in fields)
    mode = fields[0].setup.get("mode")
    name = "RepLKNet's receptive field" if mode == "replknet" else "Effective receptive field"
    counts = [(_shared(fields, "samples"), "input"), (_shared(fields, "initialisations"), "initialisation")]
    samples = "\u00a0×\u00a0".join(f"{count}\u00a0{noun}{'' if count == '1' else 's'}" for count, noun in counts)
    layers = dict.fromkeys(plain(str(layer)) for field in fields if (layer := field.setup.get("layer")) is not None)
    depths = {field.depth for field in fields}
    stacked = [depth_name(max(depths))] if depths != {1} and len(depths) == 1 else []
    probed = [f"layer {' / '.join(layers)}"] if layers else []
    return (
        f"{name} of the central output pixel: {_shared(fields, 'statistic')}, {_shared(fields, 'probe')}; "
        + ", ".join(
            [*stacked, *probed, f"{' / '.join(sizes)} input", _shared(fields, "inputs").replace(" ", "\u00a0"), samples]
            + [text for text in [_shared(fields, "dtype")] if text]
        )
    )


def plain(text: str) -> str:
    """``text`` from outside as matplotlib shows it as it is: a pair of dollars would be set as mathematics."""
    return one_line(text).replace("$", r"\$")


def text_width(text: str, size_pt: float) -> float:
    """Of a line of type, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size_pt), ismath=False)
    return float(width) / 72


def lines_of(parts: Sequence[str], size_pt: float, width_in: float, between: str = "\u2002") -> list[str]:
    """The parts in as few lines as fit the width, none broken."""
    lines: list[str] = []
    for part in parts:
        if lines and text_width(f"{lines[-1]}{between}{part}", size_pt) <= width_in:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines


def _draw_marks(axes: Axes, field: Field, px_per_pt: float) -> None:
    """Outlines from the outermost inwards: those that would cover one another stand a little apart."""
    width = _WIDTH_PT * px_per_pt
    if field.extent is not None:
        # The line lies outside of the field, so that a square that fills the field is seen inside it.
        tall, wide = (side + 2 * width for side in field.extent)
        axes.add_patch(
            Rectangle((-wide / 2, -tall / 2), wide, tall, fill=False, color=_FIELD, linestyle="--", linewidth=1.0)
        )
    marks = [(side / 2, True, share) for share in _SQUARES if (side := field.figures.get(f"side_{share}_px"))]
    marks += [(size, False, share) for share in _CIRCLES if (size := field.figures.get(f"radius_{share}_px"))]
    marks.sort(key=lambda mark: -mark[0])
    sizes = _apart([size for size, _, _ in marks], _GAP_PT * px_per_pt)
    for size, (_, is_square, share) in zip(sizes, marks, strict=True):
        edge = size - width / 2
        mark: Patch = Rectangle((-edge, -edge), 2 * edge, 2 * edge) if is_square else Circle((0, 0), edge)
        mark.set(fill=False, edgecolor="white" if is_square else _CIRCLE)
        mark.set(linestyle=_STYLES[share], linewidth=_WIDTH_PT, path_effects=_EDGE)
        axes.add_patch(mark)


def _apart(sizes: Sequence[float], gap: float) -> list[float]:
    """Sizes, largest first, each at least ``gap`` smaller than the one before; none moved by more than half a pixel."""
    found = list(sizes[:1])
    for size in sizes[1:]:
        found.append(min(size, max(found[-1] - gap, size - 0.5, 0.1)))
    return found


def _key(colour: str, share: int, label: str) -> Line2D:
    line = Line2D([], [], color=colour, label=label, linewidth=_WIDTH_PT)
    line.set(linestyle=_STYLES[share], path_effects=_EDGE)
    return line


def _shared(fields: Sequence[Field], name: str) -> str:
    values = dict.fromkeys(plain(str(value)) for field in fields if (value := field.setup.get(name)) is not None)
    return " / ".join(_WORDS.get(value, value) for value in values)


def _field_text(field: Field) -> str:
    if field.extent is None:
        return "RF unbounded" if field.is_propagated else "RF unknown"
    height, width = field.extent
    return f"RF {width}" if height == width else f"RF {height}×{width}"


def _number(figures: Mapping[str, float | None], name: str, digits: int) -> str:
    value = figures.get(name)
    return "–" if value is None else f"{value:.{digits}f}"


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2g}%"


def _round_step(reach: float) -> float:
    """The largest of 1, 2, 5 times a power of ten within four fifths of the reach."""
    limit = max(0.8 * reach, 1e-3)
    power = 10.0 ** math.floor(math.log10(limit))
    step = max(digit * power for digit in (1, 2, 5) if digit * power <= limit)
    return int(step) if step >= 1 else step


def _draw_gaussian(axes: Axes, field: Field, furthest_px: float, colour: str) -> None:
    """The Gaussian beyond the map as well: its logarithm is linear in the squared distance."""
    if field.gaussian is None or len(field.gaussian) < 2 or not (field.gaussian[:2] > 0).all():
        return
    squares = field.distance_px[:2] ** 2
    logarithms = np.log(field.gaussian[:2] / field.share.max())
    slope = (logarithms[1] - logarithms[0]) / (squares[1] - squares[0])
    distance = np.linspace(0, furthest_px, 200)
    values = np.exp(logarithms[0] + slope * (distance**2 - squares[0]))
    axes.plot(distance, values, color=colour, linewidth=0.8, linestyle="--")
