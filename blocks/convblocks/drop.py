"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor, nn

from convblocks import checks


class DropPath(nn.Module):
    """Drops a residual branch for whole samples, in training only: (N, …) → (N, …).

    A sample's branch is zeroed with probability ``rate`` and divided by 1 − rate otherwise, so that its mean stays.
    Source: Huang et al. 2016, Deep Networks with Stochastic Depth, section 3.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checks.probability("DropPath", "rate", rate)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, …), the branch's output."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"
