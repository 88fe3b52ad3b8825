"""Blocks of few large tensors, written for the high-water mark of a fresh process."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Threefold(nn.Module):
    """Scales its input three times: in backward three gradients meet."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        total = x * 2
        total += x * 3
        total += x * 5
        return total


class Untouched(nn.Module):
    """Allocates 64 MiB and writes nothing into it."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        room = torch.empty(16 * 2**20)
        return x + room.shape[0]
