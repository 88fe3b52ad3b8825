"""Targets with known behaviour, good and bad."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """A 3×3 convolution."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Counting(nn.Module):
    """Counts its calls, and fails on the one asked for. how: ``error``, ``oom``, ``hang``, ``killed``, ``exit``."""

    def __init__(self, dim: int = 8, fail_at: int = 1, how: str = "error") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim, 1, 1))
        self.calls = 0
        self.fail_at, self.how = fail_at, how

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            self._fail()
        return x * self.scale

    def _fail(self) -> None:
        if self.how == "error":
            raise RuntimeError("shapes do not match")
        if self.how == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if self.how == "hang":
            time.sleep(600)
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)


class Unbuildable(nn.Module):
    """Refuses its options."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        raise ValueError(f"dim must be a multiple of 3, got {dim}")


class TwoOutputs(nn.Module):
    """Gives a mapping of a differentiable and a whole-number output."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim, 1, 1), 2.0))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scaled": x * self.scale, "count": torch.tensor(3)}


class NoGradient(nn.Module):
    """Its output depends on nothing that has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(3)
