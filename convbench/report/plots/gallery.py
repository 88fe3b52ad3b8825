"""Effective receptive fields as pictures: the map on a logarithmic scale, its outlines, its figures, its profile."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.image import imsave

from convbench.report.io.fields import Field, Floats
from convbench.report.plots.panel import Panel, Plot, slug
from convbench.report.plots.svg import Frame, LogScale, element, path, text

DECADES = 4
_SIDE = 220.0
_TITLE = 24.0
_CAPTION = 62.0
_PROFILE = Frame(_SIDE, 128, left=34, right=4, top=8, bottom=30)


def erf_gallery(fields: Sequence[Field]) -> Plot | None:
    """All fields side by side on one colour scale; None without any."""
    if not fields:
        return None
    windows: dict[tuple[int, ...], float] = {}
    for field in fields:
        if field.extent is not None:
            windows[field.map.shape] = max(windows.get(field.map.shape, 0.0), _half_width(field.extent, field.map))
    drawings = tuple(draw_field(field, windows.get(field.map.shape, max(field.map.shape) / 2)) for field in fields)
    parts = (*(slug(field.label) for field in fields), "scale")
    return Plot(
        "erf",
        "Effective receptive fields",
        "How much each input pixel contributes to the centred output pixel, as a share of the peak, on a logarithmic "
        f"scale of {DECADES} decades. Dashed: the theoretical receptive field. White: the squares that hold 50% "
        "(solid) and 99% (dotted) of the map. Fields on inputs of one size are drawn to one scale. Below each: a "
        "pixel's mean contribution against its distance from the centre. Probed with "
        + "; ".join(_setups(fields))
        + ".",
        (Panel("all fields", (*drawings, _colour_bar()), _commands(fields), "erf", parts),),
    )


def draw_field(field: Field, half: float) -> str:
    """One field: title, map, figures, radial profile; ``half`` pixels on each side of its centre."""
    scale = _SIDE / (2 * half)
    y, x = field.centre
    height, width = field.map.shape

    def place(column: float, row: float) -> tuple[float, float]:
        return (column - x + half) * scale, (row - y + half) * scale + _TITLE

    left, top = place(-0.5, -0.5)
    image = element(
        "image",
        href=_png(field.map),
        x=left,
        y=top,
        width=width * scale,
        height=height * scale,
        preserveAspectRatio="none",
        style="image-rendering: pixelated",
    )
    window = element(
        "svg",
        element("rect", x=0.0, y=0.0, width=_SIDE, height=_TITLE + _SIDE, fill="#888", fill_opacity="0.25")
        + image
        + _outlines(field, half, scale),
        x=0.0,
        y=_TITLE,
        width=_SIDE,
        height=_SIDE,
        viewBox=f"0 {_TITLE:g} {_SIDE:g} {_SIDE:g}",
    )
    lines = _caption(field)
    captions = "".join(
        text(_SIDE / 2, _TITLE + _SIDE + 16 + 14 * index, line, "axis", "middle") for index, line in enumerate(lines)
    )
    profile = element("g", _profile(field, half), transform=f"translate(0 {_TITLE + _SIDE + _CAPTION:g})")
    content = text(_SIDE / 2, 15, field.label, "strong", "middle") + window + captions + profile
    frame = Frame(_SIDE, _TITLE + _SIDE + _CAPTION + _PROFILE.height)
    return frame.svg(content, f"Effective receptive field of {field.label}: {' '.join(lines)}")


def _png(map_: Floats) -> str:
    shares = map_ / map_.max()
    tiny = 10.0**-DECADES
    levels = 1 + np.log10(np.maximum(shares, tiny)) / DECADES
    buffer = io.BytesIO()
    imsave(buffer, mpl.colormaps["magma"](levels), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outlines(field: Field, half: float, scale: float) -> str:
    boxes: list[tuple[float, float, dict[str, str]]] = []
    for share, dash in (("50", None), ("99", "1.5 3")):
        side = field.figures.get(f"side_{share}_px")
        if side is not None:
            boxes.append((side, side, {"stroke": "#fff"} | ({"stroke_dasharray": dash} if dash else {})))
    if field.extent is not None:
        boxes.append((*field.extent, {"stroke": "#56b4e9", "stroke_dasharray": "6 4", "stroke_width": "1.6"}))
    return "".join(
        element(
            "rect",
            x=(half - width / 2) * scale,
            y=(half - height / 2) * scale + _TITLE,
            width=width * scale,
            height=height * scale,
            fill="none",
            **style,
        )
        for height, width, style in boxes
    )


def _caption(field: Field) -> list[str]:
    figures = field.figures
    extent = field.extent
    theoretical = "RF whole image" if extent is None else "RF " + "×".join(dict.fromkeys(map(str, extent)))
    return [
        f"σ {_figure(figures, 'sigma_px', 2)} px · {theoretical}",
        f"R50 {_figure(figures, 'radius_50_px', 1)} · R90 {_figure(figures, 'radius_90_px', 1)} px",
        f"AGD {_figure(figures, 'agd', 3)} · r50 {_figure(figures, 'area_ratio_50', 4)}",
    ]


def _figure(figures: Mapping[str, float | None], name: str, digits: int) -> str:
    value = figures.get(name)
    return "–" if value is None else f"{value:.{digits}f}"


def _profile(field: Field, half: float) -> str:
    shown = (field.share > 0) & (field.distance_px <= half * math.sqrt(2))
    distance, share = field.distance_px[shown], field.share[shown] / field.share.max()
    y = LogScale(10.0 ** -(DECADES + 1), 1.6, *_PROFILE.y_range)
    (x0, x1), (y0, y1) = _PROFILE.x_range, _PROFILE.y_range
    reach = half * math.sqrt(2)
    visible = share >= y.low
    line = [
        (x0 + float(d) / reach * (x1 - x0), y(float(s))) for d, s in zip(distance[visible], share[visible], strict=True)
    ]
    parts = [element("rect", x=x0, y=y1, width=x1 - x0, height=y0 - y1, class_="frame")]
    for exponent in range(-DECADES, 1, 2):
        at = y(10.0**exponent)
        parts.append(element("line", x1=x0, x2=x1, y1=at, y2=at, class_="grid"))
        parts.append(text(x0 - 4, at + 4, {0: "1", -2: "1%"}.get(exponent, "10⁻⁴"), "guide-label", "end"))
    parts.append(text(x0, y0 + 14, "0", "guide-label", "middle"))
    parts.append(text((x0 + x1) / 2, y0 + 14, "distance (px)", "guide-label", "middle"))
    parts.append(text(x1, y0 + 14, f"{reach:.0f}", "guide-label", "end"))
    parts.append(path(line, "curve s0"))
    return "".join(parts)


def _half_width(extent: tuple[int, int], map_: Floats) -> float:
    """Pixels that show the whole of a bounded field on each side of its centre, with a margin."""
    whole: float = max(map_.shape) / 2
    return min(max(extent) / 2 * 1.15 + 1, whole)


def _colour_bar() -> str:
    """What the colours stand for."""
    frame = Frame(_SIDE, 60)
    levels = np.geomspace(10.0**-DECADES, 1.0, 256)[None, :]
    bar = element("image", href=_png(levels), x=0.0, y=22.0, width=_SIDE, height=12.0, preserveAspectRatio="none")
    parts = [text(_SIDE / 2, 14, "contribution / peak", "axis", "middle"), bar]
    parts += [
        text(place, 50, label, "guide-label", anchor)
        for place, label, anchor in ((0, "10⁻⁴ and less", None), (_SIDE / 2, "10⁻²", "middle"), (_SIDE, "1", "end"))
    ]
    return frame.svg("".join(parts), "colour scale")


def _commands(fields: Sequence[Field]) -> tuple[str, ...]:
    return tuple(f"Measured by {command}" for command in dict.fromkeys(field.command for field in fields) if command)


def _setups(fields: Sequence[Field]) -> list[str]:
    """How the fields were probed, once for all where it is the same."""
    found = dict.fromkeys(
        f"statistic {field.setup['statistic']}, probe {field.setup['probe']}, inputs {field.setup['inputs']}, "
        f"{field.setup['samples']} samples × {field.setup['initialisations']} initialisations, depth "
        f"{field.setup['depth']}, input {field.map.shape[0]}×{field.map.shape[1]}"
        for field in fields
    )
    return list(found)
