"""Blocks that end a measuring process, or never let it go on, in every way there is."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import torch
from torch import Tensor, nn


class Fine(nn.Conv2d):
    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 1)


class _Unruly(Fine):
    def forward(self, x: Tensor) -> Tensor:
        self.misbehave()
        return super().forward(x)

    def misbehave(self) -> None:
        raise NotImplementedError


class Exits(_Unruly):
    def misbehave(self) -> None:
        print("these are my last words", file=sys.stderr, flush=True)
        os._exit(7)


class Segfaults(_Unruly):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class Killed(_Unruly):
    """What the kernel does to a process when memory runs out."""

    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hangs(_Unruly):
    def misbehave(self) -> None:
        time.sleep(600)


class Raises(_Unruly):
    def misbehave(self) -> None:
        raise RuntimeError("a mistake of the author's")


class Hoards(_Unruly):
    def misbehave(self) -> None:
        raise torch.OutOfMemoryError("tried to allocate 1 EiB")


class Divisible(Fine):
    def __init__(self, dim: int) -> None:
        if dim % 4:
            raise ValueError(f"dim must be a multiple of 4, got {dim}")
        super().__init__(dim)


class Slow(_Unruly):
    """Sleeps without a word, so that whoever waits for it has nothing to do."""

    def misbehave(self) -> None:
        time.sleep(5)
