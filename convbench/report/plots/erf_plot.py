"""Pictures of effective receptive fields: maps on one shared colour scale, with their radial profiles."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from convbench.errors import OutputError
from convbench.report.plots.erf_panels import (
    ColourScale,
    caption,
    colour_map,
    depth_name,
    draw_map,
    draw_profile,
    heading,
    keys,
    norm,
    plain,
)
from convbench.text import one_line

if TYPE_CHECKING:
    from convbench.measures.erf import Erf
    from convbench.report.io.document import Report

Scale = Literal["log", "linear", "both"]

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
_CELL, _GAP, _LEFT, _RIGHT = 1.9, 0.42, 0.85, 0.95
_TITLE, _CAPTION, _PROFILE, _FOOT, _HEAD = 0.42, 0.86, 1.5, 0.5, 0.85
_ROW = _TITLE + _CELL + _CAPTION
_NARROWEST = 7.2


@dataclass(frozen=True, slots=True)
class LabelledErf:
    """A field and the name it is drawn under; fields of one name (other depths) share a column."""

    label: str
    erf: Erf


def draw_erf(
    erfs: Sequence[LabelledErf],
    *,
    scale: Scale | None = None,
    columns: int = 6,
) -> Figure:
    """Draw one field, or a grid of fields: a column a label, a row a depth, radial profiles below.

    Every map is divided by its peak and all share one colour scale. The dashed box is the theoretical receptive field,
    the squares hold 50% and 99% of the contribution, the dashed curve is the Gaussian with the map's second moment.

    scale: of the colours; a single field is shown on both unless told otherwise, a grid on the logarithmic one.
    columns: at most so many side by side.
    Raises ValueError when there is nothing to draw.
    """
    if not erfs:
        raise ValueError("there is no receptive field to draw")
    labels = list(dict.fromkeys(item.label for item in erfs))
    scale = scale or ("both" if len(labels) == 1 else "log")
    scales: tuple[ColourScale, ...] = ("log", "linear") if scale == "both" else (scale,)
    with mpl.rc_context(_STYLE):
        return (_Single if len(labels) == 1 else _Grid)(erfs, labels, scales, columns).figure


def to_png(report: Report) -> dict[str, bytes]:
    """The report's receptive fields as one picture."""
    return _picture(report, "png")


def to_svg(report: Report) -> dict[str, bytes]:
    """The same in vectors."""
    return _picture(report, "svg")


def to_pdf(report: Report) -> dict[str, bytes]:
    """The same as a page."""
    return _picture(report, "pdf")


def _picture(report: Report, form: str) -> dict[str, bytes]:
    erfs = [LabelledErf(field.label, field.erf) for field in report.fields if field.erf is not None]
    if not erfs:
        raise OutputError(f"a .{form} file is a picture of receptive fields, and none was measured")
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        draw_erf(erfs).savefig(buffer, format=form, dpi=160, facecolor="white")
    return {"": buffer.getvalue()}


class _Sheet:
    """A figure whose panels are placed in inches from its lower left corner."""

    def __init__(self, width: float, height: float, erfs: Sequence[LabelledErf]) -> None:
        self.size = (max(width, _NARROWEST), height)
        self.figure = Figure(figsize=self.size)
        self.erfs = {(item.label, item.erf.depth): item.erf for item in erfs}
        self.depths = _depths(erfs)
        self.half_widths = {
            depth: _half_width([erf for (_, d), erf in self.erfs.items() if d == depth]) for depth in self.depths
        }
        self._head()

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        across, up = self.size
        axes: Axes = self.figure.add_axes((left / across, bottom / up, width / across, height / up))
        return axes

    def map(self, erf: Erf, scale: ColourScale, left: float, bottom: float) -> Axes:
        axes = self.axes(left, bottom, _CELL, _CELL)
        draw_map(axes, erf, scale, self.half_widths[erf.depth])
        return axes

    def caption(self, axes: Axes, erf: Erf) -> None:
        axes.text(
            0.5, -0.13, caption(erf), transform=axes.transAxes, ha="center", va="top", fontsize=8, linespacing=1.35
        )

    def profile(
        self, label: str, depths: Sequence[int], left: float, bottom: float, width: float, height: float
    ) -> Axes:
        axes = self.axes(left, bottom, width, height)
        shown = {self.depths.index(depth): self.erfs[label, depth] for depth in depths if (label, depth) in self.erfs}
        draw_profile(axes, shown, max(self.half_widths[depth] for depth in depths))
        return axes

    def bar(self, scale: ColourScale, left: float, bottom: float, height: float, label: str) -> None:
        axes = self.axes(left, bottom, 0.12, height)
        bar = self.figure.colorbar(ScalarMappable(norm(scale), colour_map()), cax=axes)
        bar.set_label(label)

    def _head(self) -> None:
        up = self.size[1]
        text = heading(list(self.erfs.values()))
        self.figure.text(0.5, 1 - 0.1 / up, text, ha="center", va="top", fontsize=9.5)
        handles = keys(self.depths)
        self.figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - 0.5 / up),
            ncol=len(handles) if self.size[0] > 8.5 else -(-len(handles) // 2),
            frameon=False,
            columnspacing=1.4,
            handlelength=2.2,
        )


class _Grid(_Sheet):
    """Columns of labels, rows of depths and scales, and a row of profiles; broken into bands of few columns."""

    def __init__(
        self, erfs: Sequence[LabelledErf], labels: Sequence[str], scales: Sequence[ColourScale], columns: int
    ) -> None:
        bands = -(-len(labels) // columns)
        across = -(-len(labels) // bands)
        self.rows = [(depth, scale) for depth in _depths(erfs) for scale in scales]
        self.scales = scales
        band = len(self.rows) * _ROW + _PROFILE + _FOOT
        panels = across * (_CELL + _GAP) - _GAP
        super().__init__(_LEFT + panels + _RIGHT, _HEAD + bands * band, erfs)
        left = (self.size[0] - panels - _RIGHT + _LEFT) / 2
        for number in range(bands):
            top = self.size[1] - _HEAD - number * band
            for column, label in enumerate(labels[number * across : (number + 1) * across]):
                self._column(label, left + column * (_CELL + _GAP), top, is_first=column == 0)
            self._bars(left + panels + 0.14, top)

    def _column(self, label: str, left: float, top: float, is_first: bool) -> None:
        for index, (depth, scale) in enumerate(self.rows):
            erf = self.erfs.get((label, depth))
            if erf is None:
                continue
            axes = self.map(erf, scale, left, top - index * _ROW - _TITLE - _CELL)
            if scale == self.scales[-1]:
                self.caption(axes, erf)
            if index == 0:
                axes.set_title("\n".join(map(plain, textwrap.wrap(one_line(label), 24))), pad=5)
            if is_first:
                name = depth_name(depth) + (f", {scale}" if len(self.scales) > 1 else "")
                axes.set_ylabel(f"{name}\noffset (px)")
        axes = self.profile(label, self.depths, left, top - len(self.rows) * _ROW - _PROFILE, _CELL, _PROFILE)
        if is_first:
            axes.set_ylabel("contribution per pixel\n(relative to the peak)")

    def _bars(self, left: float, top: float) -> None:
        if len(self.scales) == 1:
            height = (len(self.rows) - 1) * _ROW + _CELL
            label = f"contribution / peak ({self.scales[0]})"
            self.bar(self.scales[0], left, top - _TITLE - height, height, label)
            return
        for index, (_, scale) in enumerate(self.rows):
            self.bar(scale, left, top - index * _ROW - _TITLE - _CELL, _CELL, "contribution / peak")


class _Single(_Sheet):
    """One label: a row a depth, of its map on each scale and its profile."""

    def __init__(
        self, erfs: Sequence[LabelledErf], labels: Sequence[str], scales: Sequence[ColourScale], columns: int
    ) -> None:
        depths = _depths(erfs)
        step = _CELL + _GAP + 0.75
        super().__init__(_LEFT + len(scales) * step + 2.75, _HEAD + len(depths) * _ROW, erfs)
        for index, depth in enumerate(depths):
            erf = self.erfs[labels[0], depth]
            bottom = self.size[1] - _HEAD - index * _ROW - _TITLE - _CELL
            for place, scale in enumerate(scales):
                axes = self.map(erf, scale, _LEFT + place * step, bottom)
                axes.set_xlabel("offset (px)", labelpad=1)
                self.bar(scale, _LEFT + place * step + _CELL + 0.1, bottom, _CELL, "contribution / peak")
                if place == 0:
                    axes.set_ylabel("offset (px)", labelpad=1)
                    axes.set_title(f"{plain(labels[0])}, {depth_name(depth)}", loc="left", pad=5)
            left = _LEFT + len(scales) * step + 0.35
            axes = self.profile(labels[0], [depth], left, bottom, 2.2, _CELL)
            axes.set_ylabel("contribution per pixel\n(relative to the peak)")
            self.figure.text(
                0.5, (bottom - 0.46) / self.size[1], "   ".join(caption(erf).split("\n")),
                ha="center", va="top", fontsize=8.5,
            )  # fmt: skip


def _depths(erfs: Sequence[LabelledErf]) -> list[int]:
    return sorted({item.erf.depth for item in erfs})


def _half_width(erfs: Sequence[Erf]) -> float:
    """Pixels to show on each side: the largest bounded field and a margin, or all of the image."""
    largest: float = max(max(erf.map.shape) for erf in erfs) / 2
    sides = [max(field.height, field.width) for erf in erfs if (field := erf.receptive_field) is not None]
    return min(max(sides) / 2 * 1.15 + 1.5, largest) if sides else largest
