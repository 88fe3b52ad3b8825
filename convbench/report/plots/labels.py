"""Where labels go so that they hide neither each other nor the markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from convbench.report.plots.svg import CHARACTER_PX

_HEIGHT = 13.0
_GAPS = (9.0, 18.0, 30.0, 46.0, 66.0)
# Directions to try in turn, as (dx, dy) in units of the gap; text starts right of, or ends left of, the place.
_DIRECTIONS = (
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.7, -0.8),
    (0.7, 0.8),
    (-0.7, -0.8),
    (-0.7, 0.8),
    (0.2, -1.2),
    (0.2, 1.2),
    (-0.2, -1.2),
    (-0.2, 1.2),
)


@dataclass(frozen=True, slots=True)
class Label:
    """x, y: baseline start (or end, for ``anchor="end"``). far: whether a line to the marker is needed."""

    x: float
    y: float
    anchor: str
    far: bool


@dataclass(frozen=True, slots=True)
class _Rect:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Rect) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, other: _Rect) -> float:
        return (
            max(0.0, other.left - self.left)
            + max(0.0, self.right - other.right)
            + max(0.0, other.top - self.top)
            + max(0.0, self.bottom - other.bottom)
        )


def place_labels(
    markers: Sequence[tuple[float, float]],
    names: Sequence[str],
    bounds: tuple[float, float, float, float],
    line: Sequence[tuple[float, float]] = (),
    size: float = 6,
) -> list[Label]:
    """A place for each name beside its marker, greedily: the nearest that overlaps least.

    markers: pixel positions. bounds: left, top, right, bottom of the frame that labels must stay in.
    line: corners of a line of level and upright pieces that labels should not cover.
    """
    taken = [_Rect(x - size, y - size, x + size, y + size) for x, y in markers]
    taken += [
        _Rect(min(x1, x2) - 1.5, min(y1, y2) - 1.5, max(x1, x2) + 1.5, max(y1, y2) + 1.5)
        for (x1, y1), (x2, y2) in pairwise(line)
    ]
    frame = _Rect(*bounds)
    labels: list[Label] = []
    for (x, y), name in zip(markers, names, strict=True):
        width = CHARACTER_PX * len(name)
        candidates = []
        for gap in _GAPS:
            for preference, (dx, dy) in enumerate(_DIRECTIONS):
                label, rect = _candidate(x, y, width, gap, dx, dy)
                clash = sum(rect.overlap(other) for other in taken)
                price = 10 * clash + 50 * rect.outside(frame) + gap + 0.5 * preference
                candidates.append((price, label, rect))
        _, label, rect = min(candidates, key=lambda candidate: candidate[0])
        taken.append(rect)
        labels.append(label)
    return labels


def _candidate(x: float, y: float, width: float, gap: float, dx: float, dy: float) -> tuple[Label, _Rect]:
    at_x, middle = x + dx * gap, y + dy * gap
    left = at_x if dx > 0 else at_x - width
    rect = _Rect(left, middle - _HEIGHT / 2, left + width, middle + _HEIGHT / 2)
    return Label(at_x, middle + 4, "start" if dx > 0 else "end", gap > _GAPS[0]), rect


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Positions nearest to ``wanted`` that are at least ``distance`` apart and inside ``low``…``high``.

    Squeezed evenly where they do not all fit.
    """
    count = len(wanted)
    if count == 0:
        return []
    distance = min(distance, (high - low) / max(count - 1, 1))
    order = sorted(range(count), key=lambda index: wanted[index])
    # Positions less their rank's share of the distance must not fall: pool those that do (isotonic regression).
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        blocks.append((wanted[index] - rank * distance, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (second, many), (first, few) = blocks.pop(), blocks.pop()
            blocks.append(((first * few + second * many) / (few + many), few + many))
    flat = [value for value, size in blocks for _ in range(size)]
    room = (low, high - (count - 1) * distance)
    placed = [0.0] * count
    for rank, index in enumerate(order):
        placed[index] = min(max(flat[rank], room[0]), room[1]) + rank * distance
    return placed
