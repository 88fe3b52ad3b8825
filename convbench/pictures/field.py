"""A receptive field as a picture needs it, and how it is to be drawn. Imports neither matplotlib nor NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from convbench.errors import OptionError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Scale = Literal["log", "linear", "both"]
ONE_COLUMN_IN, TWO_COLUMNS_IN = 3.3, 7.0
"""Widths of a figure in a paper's column, and across both."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One effective receptive field.

    map: (H, W), non-negative. centre: (y, x) of the theoretical receptive field in pixels of the map.
    extent: (height, width) of the theoretical receptive field; None where it is unbounded, or not known because it was
        not propagated through the operators (``is_propagated``).
    figures: by the names of ErfMetrics; None where the map does not define one. setup: what was probed, and how.
    distance_px, share: (K,) the radial profile, as shares of the whole map per pixel. gaussian: (K,) that of the
    Gaussian with the map's E[r²]; None where the map is one pixel. command: the one that measured.
    """

    label: str
    map: Floats
    centre: tuple[float, float]
    extent: tuple[int, int] | None
    figures: Mapping[str, float | None]
    setup: Mapping[str, Any]
    distance_px: Floats
    share: Floats
    command: str = ""
    gaussian: Floats | None = None
    is_propagated: bool = True

    @property
    def depth(self) -> int:
        """How many copies were stacked."""
        return int(self.setup.get("depth") or 1)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How fields are drawn.

    width_in: of the figure in inches: 3.3 fits a column of a paper, 7 both. scale: of the colours and the profiles;
    None: both for a single target, logarithmic for several. columns: panels side by side; None: as many as fit.
    heading: whether what was probed, and how, stands above; a paper's caption may say it instead.
    common: one window for all panels, where each otherwise fits its own field.
    growth: curves of the fields' sizes and AGD over depth, or over layers, instead of maps.

    Raises OptionError on a value outside these.
    """

    width_in: float = TWO_COLUMNS_IN
    scale: Scale | None = None
    columns: int | None = None
    heading: bool = True
    common: bool = False
    growth: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and self.scale not in get_args(Scale):
            valid = get_args(Scale)
            raise OptionError(f"scale is one of {', '.join(valid)}; got {self.scale!r}.{nearest(self.scale, valid)}")
        if not 2 <= self.width_in <= 40:
            raise OptionError(f"a picture is between 2 and 40 inches wide; got {self.width_in:g}")
        if self.columns is not None and not 1 <= self.columns <= self.width_in / 0.7:
            most = int(self.width_in / 0.7)
            raise OptionError(f"columns must be 1 to {most} in {self.width_in:g} inches; got {self.columns}")
