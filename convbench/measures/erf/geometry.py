"""The pixels around the centre of a field: where they lie, and how they group into rings and squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convbench.measures.erf.result import Box, Floats

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Groups:
    """Pixels grouped by a distance from the centre.

    distance_px: (K,) the distances that occur, ascending. pixels: (K,) how many pixels of the window have each.
    order, starts: sorting the window's pixels by ``order`` makes group k begin at ``starts[k]``.
    """

    distance_px: Floats
    pixels: Floats
    order: Indices
    starts: Indices

    def sums(self, values: Floats) -> Floats:
        """(..., P) summed over each group: (..., K)."""
        result: Floats = np.add.reduceat(values[..., self.order], self.starts, axis=-1)
        return result


@dataclass(frozen=True, slots=True)
class Window:
    """The pixels of an image near the centre of a field.

    image: (H, W). centre: (y, x), whole or half pixels. box: the window inside the image. y, x: (P,), row by row, the
    offsets from the centre in pixels.
    """

    image: tuple[int, int]
    centre: tuple[float, float]
    box: Box
    y: Floats
    x: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.box.height, self.box.width

    def rings(self) -> Groups:
        """Pixels at exactly the same Euclidean distance."""
        return _grouped(self._quarters(), lambda key: np.sqrt(key) / 2)

    def ring_sizes(self) -> tuple[Floats, Floats]:
        """The distances that occur, ascending, and how many pixels lie at each: both (K,)."""
        counts = np.bincount(self._quarters())
        occurring = np.flatnonzero(counts)
        return np.sqrt(occurring) / 2, counts[occurring].astype(np.float64)

    def annuli(self) -> Groups:
        """Pixels whose Euclidean distance rounds to the same whole number; the distance is their mean."""
        radius = np.hypot(self.y, self.x)
        groups = _grouped(np.rint(radius).astype(np.int64), lambda key: key.astype(np.float64))
        return Groups(groups.sums(radius) / groups.pixels, groups.pixels, groups.order, groups.starts)

    def squares(self) -> Groups:
        """Pixels on the border of the same centred square: the larger of |y| and |x|."""
        halves = np.rint(2 * np.maximum(np.abs(self.y), np.abs(self.x))).astype(np.int64)
        return _grouped(halves, lambda key: key / 2)

    def _quarters(self) -> NDArray[np.int64]:
        """Squared distances in quarters of a pixel², whole numbers since the centre lies on half pixels."""
        return np.rint(4 * (self.y**2 + self.x**2)).astype(np.int64)

    def centre_pixels(self) -> Indices:
        """The pixel at the centre; two or four of them where the centre lies between pixels."""
        return np.flatnonzero((np.abs(self.y) <= 0.5) & (np.abs(self.x) <= 0.5))

    def neighbour_pixels(self) -> Indices:
        """The pixels that touch those at the centre, by a side or a corner."""
        near = (np.abs(self.y) <= 1.5) & (np.abs(self.x) <= 1.5)
        return np.setdiff1d(np.flatnonzero(near), self.centre_pixels())

    def cut(self, maps: Floats, box: Box) -> Floats:
        """The window's part of maps (B, h, w) that cover ``box`` of the image and are zero outside it: (B, P)."""
        shared = self.box.intersection(box)
        part = np.zeros((len(maps), *self.shape))
        part[:, shared.rows(self.box), shared.columns(self.box)] = maps[:, shared.rows(box), shared.columns(box)]
        return part.reshape(len(maps), -1)


def window_around(image: tuple[int, int], centre: tuple[float, float], radius_y: float, radius_x: float) -> Window:
    """The pixels of the image no further than the radii from the centre along each axis.

    The centre is rounded to half pixels, so that pixels form rings.
    """
    centre = (round(2 * centre[0]) / 2, round(2 * centre[1]) / 2)
    box = Box(
        int(np.floor(centre[0] - radius_y)),
        int(np.ceil(centre[0] + radius_y)) + 1,
        int(np.floor(centre[1] - radius_x)),
        int(np.ceil(centre[1] + radius_x)) + 1,
    ).clipped(*image)
    y, x = np.meshgrid(
        np.arange(box.top, box.bottom) - centre[0], np.arange(box.left, box.right) - centre[1], indexing="ij"
    )
    return Window(image, centre, box, y.ravel(), x.ravel())


def support_window(total: Floats, box: Box, image: tuple[int, int], centre: tuple[float, float]) -> Window:
    """The smallest window that holds every pixel as far from the centre as the furthest non-zero one, and a rim.

    total: (h, w) over ``box`` of the image, not all zero.
    """
    rows, columns = np.nonzero(total)
    reach = float(np.hypot(rows + box.top - centre[0], columns + box.left - centre[1]).max()) + 1.5
    return window_around(image, centre, reach, reach)


def _grouped(keys: NDArray[np.int64], distance: Callable[[NDArray[np.int64]], Floats]) -> Groups:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    sizes = np.diff(starts, append=len(keys)).astype(np.float64)
    return Groups(distance(ordered[starts]), sizes, order, starts)
