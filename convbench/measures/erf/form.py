"""How a probed output lies over the image. Imports no torch, so that settings can be made without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convbench.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS = ("NCHW", "NHWC", "NLC", "NCL")


@dataclass(frozen=True, slots=True)
class Form:
    """How an output is laid out: one of `LAYOUTS`, L standing for tokens in rows of ``grid`` (height, width).

    Tokens before those of the grid (a class token) are no part of the map.
    """

    layout: str
    grid: tuple[int, int] | None = None

    def arranged(self, output: Tensor) -> Tensor:
        """(N, C, H, W). Raises ShapeError where the output does not fit."""
        if output.dim() != len(self.layout):
            raise ShapeError(f"an output of shape {tuple(output.shape)} is not laid out as {self.layout} (--layout)")
        layout = self.layout
        if "L" in layout:
            place = layout.index("L")
            if self.grid is None:
                raise ShapeError(f"tokens {tuple(output.shape)} need their grid: --grid H,W")
            spare = output.shape[place] - self.grid[0] * self.grid[1]
            if spare < 0:
                raise ShapeError(f"{output.shape[place]} tokens are fewer than a grid of {self.grid} (--grid)")
            output = output.narrow(place, spare, output.shape[place] - spare) if spare else output
            height, width = self.grid
            output = output.reshape(*output.shape[:place], height, width, *output.shape[place + 1 :])
            layout = layout.replace("L", "HW")
        return output if layout == "NCHW" else output.permute([layout.index(letter) for letter in "NCHW"])
