"""Pictures of effective receptive fields: maps on one colour scale, with their figures and radial profiles."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from convbench.pictures.field import Drawing, Field
from convbench.pictures.panels import (
    LARGE_PT,
    SMALL_PT,
    ColourScale,
    caption,
    colour_map,
    depth_name,
    draw_map,
    draw_profile,
    half_window,
    heading,
    keys,
    lines_of,
    norm,
    plain,
    text_width,
)
from convbench.text import one_line

DOTS_PER_INCH = 300
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # the one that matplotlib brings, so that widths are known
    "font.size": SMALL_PT,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "hatch.linewidth": 0.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "convbench",
    "pdf.fonttype": 42,
}
# Inches.
_LEFT, _RIGHT, _GAP, _PANEL, _LARGEST = 0.42, 0.06, 0.12, 1.2, 2.1
_LINE, _TICKS, _PROFILE, _BETWEEN, _BAR, _KEYS = 0.105, 0.16, 0.42, 0.07, 0.36, 0.14


def draw_fields(fields: Sequence[Field], drawing: Drawing | None = None) -> Figure:
    """A grid of fields: a column a label and colour scale, a row a depth, radial profiles below.

    Every map is divided by its peak, and all of a scale share its colours. The dashed box is the theoretical receptive
    field, squares hold 50% and 99% of the contribution, circles 50% and 90%; the dashed curve is the Gaussian of the
    map's second moment. Outlines that coincide are drawn a little apart.

    Raises ValueError when there is nothing to draw.
    """
    if not fields:
        raise ValueError("there is no receptive field to draw")
    with mpl.rc_context(STYLE):
        return _Sheet(fields, drawing or Drawing()).figure


def draw(fields: Sequence[Field], drawing: Drawing | None = None) -> Figure:
    """Maps, or curves where the drawing asks for growth. Raises ValueError when there is nothing to draw."""
    from convbench.pictures.growth import draw_growth

    if drawing is None or not drawing.growth:
        return draw_fields(fields, drawing)
    with mpl.rc_context(STYLE):
        return draw_growth(fields, drawing)


def picture(fields: Sequence[Field], form: str, drawing: Drawing | None = None) -> bytes:
    """The same as a file: ``png``, ``svg`` or ``pdf``."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        made = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else {}
        figure = draw(fields, drawing)
        figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, facecolor="white", metadata=made)
    return buffer.getvalue()


class _Sheet:
    """The figure, filled from above in inches: heading, bands of panels, colour bars, keys."""

    def __init__(self, fields: Sequence[Field], drawing: Drawing) -> None:
        self.fields = {(field.label, field.depth): field for field in fields}
        self.depths = sorted({field.depth for field in fields})
        labels = list(dict.fromkeys(field.label for field in fields))
        scale = drawing.scale or ("both" if len(labels) == 1 else "log")
        self.scales: tuple[ColourScale, ...] = ("log", "linear") if scale == "both" else (scale,)
        panels = [(label, each) for label in labels for each in self.scales]
        self.width = drawing.width_in
        room = self.width - _LEFT - _RIGHT
        self.gap = _GAP * len(self.scales)  # the axes of a linear profile are labelled between panels
        across = drawing.columns or max(int((room + self.gap) / (_PANEL + self.gap)), 1)
        if across > len(self.scales):
            across -= across % len(self.scales)  # both scales of a field side by side
        across = -(-len(panels) // -(-len(panels) // across))
        self.cell = min((room - (across - 1) * self.gap) / across, _LARGEST)
        self.left = (self.width - across * (self.cell + self.gap) + self.gap + _LEFT - _RIGHT) / 2
        self.bands = [panels[start : start + across] for start in range(0, len(panels), across)]
        self.halves = _halves(fields, drawing.common)
        self.captions = {
            key: lines_of(caption(field), SMALL_PT, self.cell + 0.3 * self.gap) for key, field in self.fields.items()
        }
        self.caption_lines = max(map(len, self.captions.values()))
        self.head = self._wrapped(heading(fields), LARGE_PT) if drawing.heading else []
        self.keys = keys(self.depths, fields)
        self.height = self._height()
        self.figure = Figure(figsize=(self.width, self.height))
        self._draw()

    def _wrapped(self, text: str, size_pt: float) -> list[str]:
        return lines_of(text.split(" "), size_pt, self.width - 0.2, " ")

    def _titles(self, band: Sequence[tuple[str, ColourScale]]) -> list[list[str]]:
        letters = max(int(self.cell / text_width("n", LARGE_PT)), 8)
        several = len(self.scales) > 1
        names = [f"{one_line(label)}, {scale}" if several else one_line(label) for label, scale in band]
        return [[plain(line) for line in textwrap.wrap(name, letters)] or [" "] for name in names]

    def _band_height(self, band: Sequence[tuple[str, ColourScale]]) -> float:
        title = 1.2 * _LINE * max(map(len, self._titles(band))) + 0.04
        row = self.cell + _TICKS + _LINE * self.caption_lines + _BETWEEN
        return title + len(self.depths) * row + _PROFILE + 2 * _TICKS

    def _key_columns(self) -> int:
        longest = max(text_width(str(key.get_label()), SMALL_PT) for key in self.keys)
        return max(min(int((self.width - 0.1) / (longest + 0.38)), len(self.keys)), 1)

    def _height(self) -> float:
        legend = _KEYS * -(-len(self.keys) // self._key_columns())
        return 1.3 * _LINE * len(self.head) + 0.08 + sum(map(self._band_height, self.bands)) + _BAR + legend + 0.08

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """left, top: of the upper left corner, from the sheet's."""
        place = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes: Axes = self.figure.add_axes(place)
        return axes

    def _text(self, x: float, y: float, text: str, size_pt: float = SMALL_PT, **style: Any) -> None:
        place = x / self.width, 1 - y / self.height
        self.figure.text(*place, text, **{"fontsize": size_pt, "ha": "center", "va": "top", **style})

    def _draw(self) -> None:
        top = 0.06
        for line in self.head:
            self._text(self.width / 2, top, line, LARGE_PT)
            top += 1.3 * _LINE
        for band in self.bands:
            self._draw_band(band, top)
            top += self._band_height(band)
        self._draw_bars(top)
        self.figure.legend(
            handles=self.keys,
            loc="lower center",
            bbox_to_anchor=(0.5, 0.02 / self.height),
            ncol=self._key_columns(),
            frameon=False,
            fontsize=SMALL_PT,
            columnspacing=1.2,
            handlelength=2.0,
            labelspacing=0.35,
            borderpad=0.1,
        )

    def _draw_band(self, band: Sequence[tuple[str, ColourScale]], top: float) -> None:
        titles = self._titles(band)
        title = 1.2 * _LINE * max(map(len, titles)) + 0.04
        row = self.cell + _TICKS + _LINE * self.caption_lines + _BETWEEN
        for place, ((label, scale), lines) in enumerate(zip(band, titles, strict=True)):
            left = self.left + place * (self.cell + self.gap)
            self._text(left + self.cell / 2, top + title - 0.03, "\n".join(lines), LARGE_PT, va="bottom")
            for index, depth in enumerate(self.depths):
                field = self.fields.get((label, depth))
                if field is None:
                    continue
                above = top + title + index * row
                axes = self._axes(left, above, self.cell, self.cell)
                draw_map(axes, field, scale, self.halves[label, depth], self.cell)
                if place == 0 and len(self.depths) > 1:
                    axes.set_ylabel(depth_name(depth), fontsize=LARGE_PT, labelpad=2)
                text = "\n".join(self.captions[label, depth])
                self._text(left + self.cell / 2, above + self.cell + _TICKS, text, linespacing=1.15)
            self._draw_profile(label, scale, left, top + title + len(self.depths) * row, is_first=place == 0)

    def _draw_profile(self, label: str, scale: ColourScale, left: float, top: float, *, is_first: bool) -> None:
        axes = self._axes(left, top, self.cell, _PROFILE)
        shown = {
            index: field
            for index, depth in enumerate(self.depths)
            if (field := self.fields.get((label, depth))) is not None
        }
        draw_profile(axes, shown, scale, max(self.halves[label, field.depth] for field in shown.values()))
        axes.set_xlabel("distance (px)", fontsize=SMALL_PT, labelpad=0.5)
        if is_first:
            axes.set_ylabel("per pixel / peak", fontsize=SMALL_PT, labelpad=1.5)
        elif len(self.scales) == 1:
            axes.set_yticklabels([])

    def _draw_bars(self, top: float) -> None:
        room = (self.width - 0.5) / len(self.scales)
        length = min(room - 0.3, 2.2)
        for index, scale in enumerate(self.scales):
            middle = self.width / 2 + (index - (len(self.scales) - 1) / 2) * room
            axes = self._axes(middle - length / 2, top + 0.13, length, 0.07)
            is_log = scale == "log"
            extend = "min" if is_log else "neither"
            bar = self.figure.colorbar(
                ScalarMappable(norm(scale), colour_map()), cax=axes, orientation="horizontal", extend=extend
            )
            ticks = [10.0**exponent for exponent in range(-4, 1)] if is_log else [0, 0.25, 0.5, 0.75, 1]
            names = ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"] if is_log else ["0", "0.25", "0.5", "0.75", "1"]
            bar.ax.xaxis.set_major_locator(FixedLocator(ticks))
            bar.ax.xaxis.set_major_formatter(FixedFormatter(names))
            bar.ax.minorticks_off()
            bar.ax.tick_params(length=1.5, pad=1, labelsize=SMALL_PT)
            text = "contribution / peak (log; black: less)" if is_log else "contribution / peak (linear)"
            self._text(middle, top + 0.02, text)


def _halves(fields: Sequence[Field], common: bool) -> dict[tuple[str, int], float]:
    """What each panel shows on each side of its centre, in pixels."""
    found = {(field.label, field.depth): half_window(field) for field in fields}
    return dict.fromkeys(found, max(found.values())) if common else found
