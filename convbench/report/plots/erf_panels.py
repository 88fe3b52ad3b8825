"""The panels of a picture of receptive fields: a map with its outlines, a radial profile, captions, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from convbench.text import one_line

if TYPE_CHECKING:
    from convbench.measures.erf import Box, Erf, RadialProfile

ColourScale = Literal["log", "linear"]

DECADES = 4
"""Depth of the logarithmic colour scale below the peak."""
_MAP = "magma"  # even in lightness, so that it survives colour blindness and grey printing
_FIELD = "#56b4e9"
_LINES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito's palette
_SQUARES: dict[int, Literal["-", ":"]] = {50: "-", 99: ":"}
_EDGE = [withStroke(linewidth=2.0, foreground="black")]
_WORDS = {
    "abs": "mean |gradient|",
    "square": "mean gradient²",
    "relu": "mean max(gradient, 0)",
    "signs": "random ±1 over output channels",
    "ones": "sum over output channels",
}


def colour_map() -> Colormap:
    """The map's colours; zeros, which have no logarithm, take the darkest."""
    colours = mpl.colormaps[_MAP]
    darkest: Colormap = colours.with_extremes(bad=colours(0.0))
    return darkest


def norm(scale: ColourScale) -> Normalize:
    """From contribution over peak to colour, the same for every map."""
    return LogNorm(10.0**-DECADES, 1.0, clip=True) if scale == "log" else Normalize(0.0, 1.0)


def line_colour(index: int) -> str:
    """Of the index-th depth."""
    return _LINES[index % len(_LINES)]


def draw_map(axes: Axes, erf: Erf, scale: ColourScale, half_width: float) -> None:
    """The map divided by its peak, around its centre, with the theoretical field and the squares of 50% and 99%."""
    y, x = erf.centre
    height, width = erf.map.shape
    axes.imshow(
        erf.map / erf.map.max(),
        cmap=colour_map(),
        norm=norm(scale),
        interpolation="nearest",
        extent=(-0.5 - x, width - 0.5 - x, height - 0.5 - y, -0.5 - y),
    )
    axes.set_facecolor("0.8")  # beyond the image
    axes.set_xlim(-half_width, half_width)
    axes.set_ylim(half_width, -half_width)
    axes.locator_params(nbins=5, integer=True)
    axes.tick_params(length=2.5, pad=2)
    for share, style in _SQUARES.items():
        side = getattr(erf.metrics, f"side_{share}_px")
        if side is not None:
            _outline(axes, -side / 2, -side / 2, side, side, color="white", linestyle=style, path_effects=_EDGE)
    field = erf.receptive_field
    if field is not None:
        left, top = field.left - 0.5 - x, field.top - 0.5 - y
        _outline(axes, left, top, field.width, field.height, color=_FIELD, linestyle="--", linewidth=1.4)


def draw_profile(axes: Axes, erfs: Mapping[int, Erf], furthest_px: float) -> None:
    """Contribution per pixel over its peak against distance, and the Gaussian of the same width; keys: line colours."""
    for index, erf in erfs.items():
        profile = erf.profile
        peak = profile.share.max()
        shown = profile.share > 0
        distance, share = profile.distance_px[shown], profile.share[shown] / peak
        axes.plot([*distance, distance[-1] + 0.5], [*share, 1e-12], color=line_colour(index), linewidth=1.6)
        _draw_gaussian(axes, profile, furthest_px, line_colour(index))
    axes.set_yscale("log")
    axes.set_ylim(10.0 ** -(DECADES + 1), 2)
    axes.set_xlim(0, furthest_px)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(length=2.5, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("distance from centre (px)", labelpad=2)


def keys(depths: Sequence[int]) -> list[Line2D]:
    """What the lines mean, for a legend."""
    squares = [
        Line2D([], [], color="white", linestyle=style, path_effects=_EDGE, label=f"square with {share}% (S{share})")
        for share, style in _SQUARES.items()
    ]
    profiles = [
        Line2D([], [], color=line_colour(index), linewidth=1.6, label=depth_name(depth))
        for index, depth in enumerate(depths)
    ]
    return [
        Line2D([], [], color=_FIELD, linestyle="--", linewidth=1.4, label="theoretical field"),
        *squares,
        *profiles,
        Line2D([], [], color="0.35", linestyle="--", linewidth=1.0, label="Gaussian of the same width"),
    ]


def depth_name(depth: int) -> str:
    """``one block``, ``4 blocks``."""
    return "one block" if depth == 1 else f"{depth} blocks"


def caption(erf: Erf) -> str:
    """The figures under a map, in three short lines."""
    figures = erf.metrics
    share = "–" if figures.centre_share is None else f"{100 * figures.centre_share:.1f}%"
    return (
        f"σ {_number(figures.sigma_px, 2)}   R50 {_number(figures.radius_50_px, 1)}   "
        f"R90 {_number(figures.radius_90_px, 1)} px\n"
        f"AGD {_number(figures.agd, 3)}   centre {share}\n"
        f"S50 {_number(figures.side_50_px, 0)}   S99 {_number(figures.side_99_px, 0)}   {_field_text(erf)}"
    )


def heading(erfs: Sequence[Erf]) -> str:
    """What was measured and how: everything that makes maps comparable, and in what these differ."""
    sizes = sorted({erf.map.shape for erf in erfs})
    size = " / ".join(f"{height}×{width}" for height, width in sizes)
    name = "RepLKNet's receptive field" if erfs[0].mode == "replknet" else "Effective receptive field"
    samples = f"{_shared(erfs, 'samples')} inputs × {_shared(erfs, 'initialisations')} initialisations"
    return (
        f"{name} of the central output pixel: {_shared(erfs, 'statistic')}, {_shared(erfs, 'probe')}\n"
        f"{size} input, {_shared(erfs, 'inputs')}, {samples}, {_shared(erfs, 'dtype')}"
    )


def plain(text: str) -> str:
    """``text`` from outside as matplotlib shows it as it is: a pair of dollars would be set as mathematics."""
    return one_line(text).replace("$", r"\$")


def _shared(erfs: Sequence[Erf], name: str) -> str:
    values = dict.fromkeys(plain(str(getattr(erf, name))) for erf in erfs)
    return " / ".join(_WORDS.get(value, value) for value in values)


def _field_text(erf: Erf) -> str:
    field = erf.receptive_field
    if field is None:
        return "RF whole image"
    side = f"{field.width}" if field.height == field.width else f"{field.height}×{field.width}"
    return f"RF {side}{' (> image)' if _passes(field, erf.map.shape) else ''}"


def _passes(field: Box, image: tuple[int, ...]) -> bool:
    height, width = image
    return field.clipped(height, width) != field


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _draw_gaussian(axes: Axes, profile: RadialProfile, furthest_px: float, colour: str) -> None:
    """The Gaussian beyond the map as well: its logarithm is linear in the squared distance."""
    if len(profile.distance_px) < 2 or not np.isfinite(profile.gaussian).all():
        return
    squares, logarithms = profile.distance_px**2, np.log(profile.gaussian / profile.share.max())
    slope = (logarithms[1] - logarithms[0]) / (squares[1] - squares[0])
    distance = np.linspace(0, furthest_px, 200)
    values = np.exp(logarithms[0] + slope * (distance**2 - squares[0]))
    axes.plot(distance, values, color=colour, linewidth=1.0, linestyle="--")


def _outline(axes: Axes, left: float, top: float, width: float, height: float, **style: Any) -> None:
    axes.add_patch(Rectangle((left, top), width, height, fill=False, **{"linewidth": 1.0, **style}))
