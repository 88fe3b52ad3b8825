"""Blocks whose ratios of time are known by construction."""

from __future__ import annotations

from torch import Tensor, nn


class Depthwise(nn.Module):
    """A 7×7 depthwise convolution, whose work grows in proportion to its channels."""

    def __init__(self, dim: int = 320) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
