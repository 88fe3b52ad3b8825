"""The vocabulary of the plots: elements, logarithmic scales with readable ticks, a frame, markers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape as escape_markup

from convbench.report.plots.style import COLOURS, standalone_css
from convbench.text import visible

CHARACTER_PX = 6.1
"""Mean width of a character of a label: labels are placed without a font at hand."""


def escape(text: str) -> str:
    """``text`` for XML, which has no control characters."""
    return escape_markup(visible(text))


def element(name: str, content: str = "", **attributes: str | float | None) -> str:
    """``<name attributes>content</name>``; ``class_`` and ``data_row`` become ``class`` and ``data-row``.

    content: markup, already escaped. Attributes that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(
    x: float, y: float, content: str, class_: str = "", anchor: str | None = None, transform: str | None = None
) -> str:
    """A line of text; ``anchor`` is middle or end."""
    return element("text", escape(content), x=x, y=y, class_=class_ or None, text_anchor=anchor, transform=transform)


def path(
    points: Iterable[tuple[float, float]], class_: str, data_series: str | None = None, *, closed: bool = False
) -> str:
    """A line through ``points``, back to the first where ``closed``."""
    line = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if closed else "")
    return element("path", d=line, class_=class_, data_series=data_series)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class LogScale:
    """From ``low``…``high`` in data to ``start``…``stop`` in pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    @classmethod
    def around(cls, values: Sequence[float], start: float, stop: float, margin: float = 0.08) -> LogScale:
        """A scale that holds all ``values`` (positive) with some room on either side."""
        low, high = min(values), max(values)
        room = max((high / low) ** margin, 1.25)
        return cls(low / room, high * room, start, stop)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values inside the scale: decades where there are many, parts of them where there are few."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        step = max(1, math.ceil(math.log10(self.high / self.low) / most))
        for digits in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**decade for decade in decades[::step] for digit in digits]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) <= most:
                break
        return inside

    def binary_ticks(self, most: int = 7) -> list[float]:
        """Powers of two inside the scale, evenly spaced: round values for bytes."""
        powers = range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)
        return [2.0**power for power in powers[:: max(1, math.ceil(len(powers) / most))]]


@dataclass(frozen=True, slots=True)
class Frame:
    """The box a plot is drawn in. left … bottom: margins in pixels around the box."""

    width: float
    height: float
    left: float = 64
    right: float = 16
    top: float = 14
    bottom: float = 46

    @property
    def x_range(self) -> tuple[float, float]:
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        return self.height - self.bottom, self.top

    def axes(
        self,
        x: LogScale,
        y: LogScale,
        titles: tuple[str, str],
        formats: tuple[Callable[[float], str], Callable[[float], str]],
        ticks: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
    ) -> str:
        """Grid, ticks (the scales' own unless given), tick labels and titles."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        parts = []
        for value in ticks[0] or x.ticks():
            parts.append(element("line", x1=x(value), x2=x(value), y1=y0, y2=y1, class_="grid"))
            parts.append(text(x(value), y0 + 16, formats[0](value), "axis", "middle"))
        for value in ticks[1] or y.ticks():
            parts.append(element("line", x1=x0, x2=x1, y1=y(value), y2=y(value), class_="grid"))
            parts.append(text(x0 - 7, y(value) + 4, formats[1](value), "axis", "end"))
        parts.append(element("rect", x=x0, y=y1, width=x1 - x0, height=y0 - y1, class_="frame"))
        parts.append(text((x0 + x1) / 2, y0 + 36, titles[0], "axis", "middle"))
        turn = f"rotate(-90 14 {_number((y0 + y1) / 2)})"
        parts.append(text(14, (y0 + y1) / 2, titles[1], "axis", "middle", transform=turn))
        return "".join(parts)

    def svg(self, content: str, title: str) -> str:
        """The whole drawing; ``title`` is what a screen reader says."""
        box = f"0 0 {_number(self.width)} {_number(self.height)}"
        return element(
            "svg",
            content,
            viewBox=box,
            class_="plot",
            role="img",
            aria_label=title,
            width=self.width,
            height=self.height,
            xmlns="http://www.w3.org/2000/svg",
        )


def standalone(svg: str) -> str:
    """A drawing as a file of its own."""
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>\n{standalone_css()}</style>{svg[start:]}\n"


def colour_class(order: int) -> str:
    """The class that gives series number ``order`` its colour."""
    return f"s{order % COLOURS}"


_SHAPES: tuple[Sequence[tuple[float, float]], ...] = (
    (),
    ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.25), (1.05, 0), (0, 1.25), (-1.05, 0)),
    ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    tuple((1.15 * math.sin(k * math.pi / 2.5), -1.15 * math.cos(k * math.pi / 2.5)) for k in range(5)),
    tuple(
        ((0.5 if k % 2 else 1.35) * math.sin(k * math.pi / 4), -(0.5 if k % 2 else 1.35) * math.cos(k * math.pi / 4))
        for k in range(8)
    ),
)


def marker(order: int, x: float, y: float, size: float = 5) -> str:
    """The marker of series number ``order``: neighbours differ in shape, and no two of 56 in shape and colour."""
    outline = _SHAPES[order % len(_SHAPES)]
    if not outline:
        return element("circle", cx=x, cy=y, r=size, class_="marker")
    return path([(x + size * dx, y + size * dy) for dx, dy in outline], "marker", closed=True)
