"""Pictures of effective receptive fields: maps on one shared colour scale over their radial profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from convbench.errors import OutputError

if TYPE_CHECKING:
    from convbench.measures.erf import Erf

Scale = Literal["log", "linear", "both"]
SUFFIXES = (".png", ".svg", ".pdf")

_DECADES = 4
_MAP = "magma"  # even in lightness, so that it survives colour blindness and grey printing
_FIELD_COLOUR = "#56b4e9"
_LINES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito's palette
_STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
# Inches.
_CELL, _GAP_X, _LEFT, _RIGHT = 1.95, 0.42, 0.85, 0.95
_TITLE, _CAPTION, _PROFILE, _PROFILE_FOOT, _TOP, _LEGEND = 0.42, 0.62, 1.55, 0.5, 0.62, 0.32


@dataclass(frozen=True, slots=True)
class LabelledErf:
    """A field and the name it is drawn under; fields of one name (other depths) share a column."""

    label: str
    erf: Erf


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of maps: a depth on a colour scale; half_width: pixels shown on each side of the centre."""

    depth: int
    scale: Literal["log", "linear"]
    half_width: float


def draw_erf(
    erfs: Sequence[LabelledErf],
    path: Path | None = None,
    *,
    scale: Scale | None = None,
    columns: int = 6,
    dpi: int = 160,
) -> Figure:
    """Draw one field, or a grid of fields: a column a label, a row a depth, radial profiles below.

    Every map is divided by its peak and all share one colour scale. The dashed box is the theoretical receptive field,
    the squares hold 50% and 99% of the contribution, the dashed curve is the Gaussian with the map's second moment.

    scale: of the colours; a single field is shown on both unless told otherwise, a grid on the logarithmic one.
    columns: at most so many side by side. path: written as .png, .svg or .pdf, if given.
    Raises OutputError for another suffix, ValueError when there is nothing to draw.
    """
    if not erfs:
        raise ValueError("there is no receptive field to draw")
    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} has suffix {path.suffix!r}: a picture is {', '.join(SUFFIXES)}")
    labels = list(dict.fromkeys(item.label for item in erfs))
    scale = scale or ("both" if len(labels) == 1 else "log")
    with mpl.rc_context(_STYLE):
        figure = _Grid(erfs, labels, scale, columns).draw()
        if path is not None:
            figure.savefig(path, dpi=dpi, facecolor="white")
    return figure


class _Grid:
    """Places the panels of a figure; all lengths are inches from its lower left corner."""

    def __init__(self, erfs: Sequence[LabelledErf], labels: Sequence[str], scale: Scale, columns: int) -> None:
        self.erfs = {(item.label, item.erf.depth): item.erf for item in erfs}
        self.depths = sorted({item.erf.depth for item in erfs})
        scales: tuple[Literal["log", "linear"], ...] = ("log", "linear") if scale == "both" else (scale,)
        self.rows = [
            _Row(depth, name, max(_half_width(erf) for (_, d), erf in self.erfs.items() if d == depth))
            for depth in self.depths
            for name in scales
        ]
        bands = -(-len(labels) // columns)
        per_band = -(-len(labels) // bands)
        self.bands = [labels[start : start + per_band] for start in range(0, len(labels), per_band)]
        self.row_height = _TITLE + _CELL + _CAPTION
        self.band_height = len(self.rows) * self.row_height + _PROFILE + _PROFILE_FOOT
        self.width = max(_LEFT + per_band * (_CELL + _GAP_X) - _GAP_X + _RIGHT, 6.2)
        self.height = _TOP + _LEGEND + bands * self.band_height
        self.figure = Figure(figsize=(self.width, self.height))

    def draw(self) -> Figure:
        self._head()
        for number, labels in enumerate(self.bands):
            top = self.height - _TOP - _LEGEND - number * self.band_height
            for column, label in enumerate(labels):
                left = _LEFT + column * (_CELL + _GAP_X)
                for index, row in enumerate(self.rows):
                    bottom = top - index * self.row_height - _TITLE - _CELL
                    erf = self.erfs.get((label, row.depth))
                    if erf is not None:
                        axes = self._axes(left, bottom, _CELL, _CELL)
                        _map_panel(axes, erf, row)
                        if index == 0:
                            axes.set_title(label, pad=5)
                        if column == 0:
                            axes.set_ylabel(f"{_row_name(row, self.rows)}\noffset (px)")
                axes = self._axes(left, top - self.band_height + _PROFILE_FOOT, _CELL, _PROFILE)
                _profile_panel(axes, [(depth, self.erfs.get((label, depth))) for depth in self.depths])
                if column == 0:
                    axes.set_ylabel("contribution per pixel\n(relative to the peak)")
            self._colour_bars(top)
        return self.figure

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        axes: Axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        return axes

    def _head(self) -> None:
        self.figure.text(
            0.5, 1 - 0.1 / self.height, _heading(list(self.erfs.values())), ha="center", va="top", fontsize=9.5
        )
        handles = [
            Line2D([], [], color=_FIELD_COLOUR, linestyle="--", label="theoretical field"),
            Line2D([], [], color="black", linestyle="-", linewidth=1, label="square with 50%"),
            Line2D([], [], color="black", linestyle=":", linewidth=1, label="square with 99%"),
            *(
                Line2D([], [], color=_colour(index), label=_depth_name(depth))
                for index, depth in enumerate(self.depths)
            ),
            Line2D([], [], color="0.35", linestyle="--", linewidth=1, label="Gaussian of the same width"),
        ]
        self.figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - _TOP / self.height),
            ncol=len(handles),
            frameon=False,
            columnspacing=1.4,
            handlelength=2.2,
        )

    def _colour_bars(self, top: float) -> None:
        for name in dict.fromkeys(row.scale for row in self.rows):
            indices = [index for index, row in enumerate(self.rows) if row.scale == name]
            count = indices[-1] + 1 if len({row.scale for row in self.rows}) == 1 else 1
            for index in indices[:1] if count > 1 else indices:
                bottom = top - (index + count - 1) * self.row_height - _TITLE - _CELL
                height = (count - 1) * self.row_height + _CELL
                axes = self._axes(self.width - _RIGHT + 0.14, bottom, 0.13, height)
                bar = self.figure.colorbar(ScalarMappable(_norm(name), _colour_map()), cax=axes)
                bar.set_label(f"contribution / peak ({name})")


def _map_panel(axes: Axes, erf: Erf, row: _Row) -> None:
    """The map around its centre with the boxes over it and the figures under it."""
    y, x = erf.centre
    height, width = erf.map.shape
    axes.imshow(
        erf.map / erf.map.max(),
        cmap=_colour_map(),
        norm=_norm(row.scale),
        interpolation="nearest",
        extent=(-0.5 - x, width - 0.5 - x, height - 0.5 - y, -0.5 - y),
    )
    axes.set_facecolor("0.82")
    axes.set_xlim(-row.half_width, row.half_width)
    axes.set_ylim(row.half_width, -row.half_width)
    axes.locator_params(nbins=5, integer=True)
    axes.tick_params(length=2.5, pad=2)
    for side, style in ((erf.metrics.side_50_px, "-"), (erf.metrics.side_99_px, ":")):
        if side is not None:
            _outline(axes, -side / 2, -side / 2, side, side, color="white", linestyle=style, linewidth=1.0)
    field = erf.receptive_field
    if field is not None:
        _outline(
            axes, field.left - 0.5 - x, field.top - 0.5 - y, field.width, field.height,
            color=_FIELD_COLOUR, linestyle="--", linewidth=1.3,
        )  # fmt: skip
    axes.text(0.5, -0.13, _caption(erf), transform=axes.transAxes, ha="center", va="top", fontsize=8, linespacing=1.35)


def _profile_panel(axes: Axes, erfs: Sequence[tuple[int, Erf | None]]) -> None:
    furthest = 1.0
    for index, (_, erf) in enumerate(erfs):
        if erf is None:
            continue
        profile = erf.profile
        peak = profile.share.max()
        shown = profile.share > 0
        axes.plot(profile.distance_px[shown], profile.share[shown] / peak, color=_colour(index), linewidth=1.6)
        axes.plot(profile.distance_px, profile.gaussian / peak, color=_colour(index), linewidth=0.9, linestyle="--")
        visible = profile.distance_px[profile.share / peak > 10.0 ** -(_DECADES + 1)]
        furthest = max(furthest, float(visible.max()))
    axes.set_yscale("log")
    axes.set_ylim(10.0 ** -(_DECADES + 1), 2)
    axes.set_xlim(0, furthest * 1.05)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(length=2.5, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("distance from centre (px)", labelpad=2)


def _outline(axes: Axes, left: float, top: float, width: float, height: float, **style: Any) -> None:
    axes.add_patch(Rectangle((left, top), width, height, fill=False, **style))


def _heading(erfs: Sequence[Erf]) -> str:
    """Everything that makes maps comparable, or that the fields differ in it."""
    first = erfs[0]
    height, width = first.map.shape
    statistic = _shared(
        erfs, "statistic", {"abs": "mean |gradient|", "square": "mean gradient²", "relu": "mean relu(gradient)"}
    )
    probe = _shared(erfs, "probe", {"signs": "random ±1 over output channels", "ones": "sum of output channels"})
    sizes = {erf.map.shape for erf in erfs}
    size = f"{height}×{width} input" if len(sizes) == 1 else "inputs of several sizes"
    samples = _shared(erfs, "samples", {})
    initialisations = _shared(erfs, "initialisations", {})
    kind = "RepLKNet's" if first.mode == "replknet" else "Effective"
    return (
        f"{kind} receptive field of the centred output pixel: {statistic}, {probe}\n"
        f"{size}, {_shared(erfs, 'inputs', {})}, {samples} samples × {initialisations} initialisations, "
        f"{_shared(erfs, 'dtype', {})}"
    )


def _shared(erfs: Sequence[Erf], name: str, words: dict[str, str]) -> str:
    values = sorted({str(getattr(erf, name)) for erf in erfs})
    return " / ".join(words.get(value, value) for value in values)


def _caption(erf: Erf) -> str:
    figures = erf.metrics
    field = erf.receptive_field
    if field is None:
        theoretical = "RF whole image"
    elif field.height == field.width:
        theoretical = f"RF {field.width}"
    else:
        theoretical = f"RF {field.height}×{field.width}"
    if field is not None and field.clipped(*erf.map.shape) != field:
        theoretical += " (> image)"
    return (
        f"σ {_number(figures.sigma_px, 2)}  R50 {_number(figures.radius_50_px, 1)}  "
        f"R90 {_number(figures.radius_90_px, 1)}  {theoretical}\n"
        f"AGD {_number(figures.agd, 3)}  r50 {_number(figures.side_50_px, 0)}  r99 {_number(figures.side_99_px, 0)}  "
        f"centre {100 * (figures.centre_share or 0):.1f}%"
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _half_width(erf: Erf) -> float:
    """Pixels to show on each side: the theoretical field where it fits, else what holds 99%, and a margin."""
    height, width = erf.map.shape
    largest: float = max(height, width) / 2
    field = erf.receptive_field
    if field is None:
        return largest
    return min(max(field.height, field.width) / 2 * 1.12 + 1, largest)


def _norm(scale: Literal["log", "linear"]) -> Normalize:
    return LogNorm(10.0**-_DECADES, 1.0, clip=True) if scale == "log" else Normalize(0.0, 1.0)


def _colour_map() -> Colormap:
    colours: Colormap = mpl.colormaps[_MAP].copy()
    colours.set_bad(colours(0.0))  # the logarithm of a zero
    return colours


def _colour(index: int) -> str:
    return _LINES[index % len(_LINES)]


def _depth_name(depth: int) -> str:
    return "one block" if depth == 1 else f"{depth} blocks"


def _row_name(row: _Row, rows: Sequence[_Row]) -> str:
    return (
        f"{_depth_name(row.depth)}, {row.scale}" if len({item.scale for item in rows}) > 1 else _depth_name(row.depth)
    )
