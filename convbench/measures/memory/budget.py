"""How much memory a call may take on this machine, and a limit that turns the kernel's kill into an exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

_SHARE = 0.8
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
_ALLOCATION_FAILED = ("can't allocate memory", "out of memory", "bad_alloc", "cannot allocate memory")


def budget_bytes(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Four fifths of what is free, on the machine and in the container."""
    free = int(psutil.virtual_memory().available)
    for limit, usage in _CGROUP_FILES:
        try:
            free = min(free, int((cgroups / limit).read_text()) - int((cgroups / usage).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return max(int(_SHARE * free), 0)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed, in Python, in torch or in a library below it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _ALLOCATION_FAILED)
