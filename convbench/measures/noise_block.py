"""The block that is compared with itself to learn how small a difference a machine can show."""

from __future__ import annotations

from torch import Tensor, nn


class DepthwisePointwise(nn.Module):
    """Depthwise 7×7, then 1×1 conv: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.pointwise = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]
