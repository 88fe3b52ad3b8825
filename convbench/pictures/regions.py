"""Regions of an image, one colour each, beside the image that they were found in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from convbench.pictures.figure import DOTS_PER_INCH, STYLE
from convbench.pictures.panels import LARGE_PT, SMALL_PT, lines_of, plain

if TYPE_CHECKING:
    from convbench.pictures.field import Floats

_GAP, _KEY = 0.08, 0.14  # inches
_MANY = 20


def draw_regions(samples: Sequence[tuple[Floats, Floats]], count: int, title: str, width_in: float) -> Figure:
    """Each input above its regions.

    samples: of each the image (H, W) and the number of the region at each pixel (h, w), from 0. count: of all regions.
    """
    across = len(samples)
    cell = min((width_in - (across + 1) * _GAP) / across, 2.2)
    shares = [float(np.mean([np.mean(regions == index) for _, regions in samples])) for index in range(count)]
    colours = _colours(count)
    keys = [
        Patch(facecolor=colours(index), label=f"{index + 1}: {share:.0%}")
        for index, share in enumerate(shares)
        if share
    ]
    per_row = max(int(width_in / 0.75), 1)
    head = lines_of(plain(title).split(" "), LARGE_PT, width_in - 0.2, " ")
    top, foot = 0.08 + _KEY * len(head), 0.12 + _KEY * -(-len(keys) // per_row)
    height = top + 2 * cell + 2 * _GAP + foot
    left = (width_in - across * (cell + _GAP) + _GAP) / 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height))
        for index, line in enumerate(head):
            figure.text(0.5, 1 - (0.05 + index * _KEY) / height, line, ha="center", va="top", fontsize=LARGE_PT)
        for place, (image, regions) in enumerate(samples):
            x = left + place * (cell + _GAP)
            rows = [height - top - (row + 1) * cell - row * _GAP for row in range(2)]
            above, below = (
                figure.add_axes((x / width_in, bottom / height, cell / width_in, cell / height)) for bottom in rows
            )
            _show(above, image, mpl.colormaps["gray"])
            _show(below, regions, colours, count)
        figure.legend(
            handles=keys, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncol=per_row, frameon=False, fontsize=SMALL_PT,
            handlelength=1.0, columnspacing=1.0, borderpad=0.2,
        )  # fmt: skip
    return figure


def regions_picture(figure: Figure, form: str) -> bytes:
    """The figure as a file: ``png``, ``svg`` or ``pdf``."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


def _show(axes: Axes, pixels: Floats, look: Colormap, count: int | None = None) -> None:
    limits = (None, None) if count is None else (-0.5, count - 0.5)
    axes.imshow(pixels, cmap=look, vmin=limits[0], vmax=limits[1], interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])


def _colours(count: int) -> ListedColormap:
    """Colours told apart by eye, up to twenty regions; beyond, neighbours in number resemble each other."""
    source = mpl.colormaps["tab20" if count <= _MANY else "turbo"]
    places = range(count) if count <= _MANY else np.linspace(0, 1, count)
    return ListedColormap([source(place) for place in places])
