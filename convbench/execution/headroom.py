"""Whether memory has room for one more target beside those already there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

_RESERVE = 1.5


class Room:
    """Watches how much memory each target took, and compares it with what is left.

    left, taken: bytes available on the device, and the most that this process has held so far.
    """

    def __init__(self, left: Callable[[], int], taken: Callable[[], int]) -> None:
        self._left = left
        self._taken = taken
        self._before = taken()
        self._largest = 0

    @classmethod
    def of(cls, device: str) -> Room:
        """The room on ``device``."""
        if device.partition(":")[0] == "cuda":
            return cls(lambda: torch.cuda.mem_get_info(device)[0], lambda: torch.cuda.max_memory_reserved(device))
        return cls(available_bytes, _resident_peak)

    def settle(self) -> None:
        """Note what was taken since the last time, as the footprint of one target."""
        taken = self._taken()
        self._largest = max(self._largest, taken - self._before)
        self._before = taken

    @property
    def fits_another(self) -> bool:
        """Whether 1.5 times the largest footprint so far is left."""
        return self._left() >= _RESERVE * self._largest


def available_bytes(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Main memory that this process may still take: the machine's, or its control group's where that is less."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return machine
    if limit == "max":
        return machine
    return min(machine, int(limit) - used + int(statistics.get("inactive_file", 0)))


def _resident_peak() -> int:
    if sys.platform == "win32":
        return int(psutil.Process(os.getpid()).memory_info().peak_wset)
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
