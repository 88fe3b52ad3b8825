"""How much memory is left: what a call may take, a limit that turns the kernel's kill into an exception, and whether
there is room for one more target beside those already there. Imports no torch unless a GPU is asked about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import psutil

_SHARE = 0.8
_RESERVE = 1.5
_GROUPS = Path("/sys/fs/cgroup")
_PROCESS = Path("/proc/self")
# Names of the files of a control group, by version: limit, usage, and the page cache that is given back on demand.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(groups: Path = _GROUPS, process: Path = _PROCESS) -> int:
    """Main memory that this process may still take: the machine's, or what the tightest of its control groups leaves.

    groups, process: where the kernel shows them.
    """
    limits = (_left_in(folder, version) for folder, version in _own_groups(groups, process))
    return max(0, min([int(psutil.virtual_memory().available), *(left for left in limits if left is not None)]))


def budget_bytes(groups: Path = _GROUPS, process: Path = _PROCESS) -> int:
    """Four fifths of what is available."""
    return int(_SHARE * available_bytes(groups, process))


@contextmanager
def limited(extra_bytes: int) -> Iterator[None]:
    """Let this process map at most ``extra_bytes`` more: one operator can ask for more than the whole machine has."""
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + extra_bytes
    ceilings = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (min([limit, *ceilings]), hard))
    except (OSError, ValueError):  # macOS does not take one
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Headroom:
    """Watches how much memory each target took, and compares it with what is left.

    left, taken: bytes available on the device, and the most that this process has held so far.
    """

    def __init__(self, left: Callable[[], int], taken: Callable[[], int]) -> None:
        self._left = left
        self._taken = taken
        self._before = taken()
        self._largest = 0

    @classmethod
    def of(cls, device: str) -> Headroom:
        """That of ``device``."""
        if device.partition(":")[0] == "cuda":
            import torch

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


def _own_groups(groups: Path, process: Path) -> Iterator[tuple[Path, int]]:
    """The process's memory groups and those around them, each with its version; a group's parents limit it too."""
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    places = {2: ("/", groups), 1: ("/", groups / "memory")}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places[2] = path, groups
        elif "memory" in controllers.split(","):
            places[1] = path, groups / "memory"
    for version, (path, mount) in places.items():
        # In a container the path may be the host's, of which only the end, or nothing, is mounted.
        for place in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield mount / str(place).lstrip("/"), version


def _left_in(folder: Path, version: int) -> int | None:
    """Bytes that a group leaves; None where it sets no limit, or is not there."""
    limit, usage, cache = _FILES[version]
    try:
        left = int((folder / limit).read_text()) - int((folder / usage).read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return left + int(statistics.get(cache, 0))
    except (OSError, ValueError):
        return left


def _resident_peak() -> int:
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
