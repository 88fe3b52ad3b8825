"""What a caching allocator counts: CUDA and XPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch


class AllocatorStatistics(Protocol):
    """The part of ``torch.cuda`` and ``torch.xpu`` that is used here; sizes in bytes."""

    def synchronize(self, device: torch.device) -> None: ...
    def empty_cache(self) -> None: ...
    def reset_peak_memory_stats(self, device: torch.device) -> None: ...
    def memory_allocated(self, device: torch.device) -> int: ...
    def max_memory_allocated(self, device: torch.device) -> int: ...
    def max_memory_reserved(self, device: torch.device) -> int: ...


@dataclass(frozen=True, slots=True)
class AllocatorPeak:
    """growth_bytes: highest allocation above what was there before the first call.

    reserved_bytes: most that the allocator held from the device above that: what no tensor of the call's was before,
    the measured module itself and the copy that is called among them, counts once, by whoever knows it.
    """

    growth_bytes: int
    reserved_bytes: int


def allocator_of(device: torch.device) -> AllocatorStatistics:
    """The allocator's statistics of ``cuda`` or ``xpu``."""
    return cast(AllocatorStatistics, torch.get_device_module(device))


def allocator_peak(
    call: Callable[[], Any], clear: Callable[[], Any], device: torch.device, allocator: AllocatorStatistics
) -> AllocatorPeak:
    """Peak of ``call`` after one warm-up call; ``clear`` runs after each and drops what a call leaves on purpose.

    The first call sets up what libraries keep (cuBLAS's workspace, cuDNN's choice of algorithms); what stays of it
    counts, for the next call needs it as well.
    """
    gc.collect()
    _drop_library_workspaces(device)
    allocator.empty_cache()
    allocator.synchronize(device)
    before = allocator.memory_allocated(device)
    call()
    clear()
    gc.collect()
    allocator.synchronize(device)
    allocator.empty_cache()
    allocator.reset_peak_memory_stats(device)
    call()
    allocator.synchronize(device)
    peak = AllocatorPeak(
        allocator.max_memory_allocated(device) - before, allocator.max_memory_reserved(device) - before
    )
    clear()
    return peak


def _drop_library_workspaces(device: torch.device) -> None:
    """Let cuBLAS's workspace go: one that an earlier target set up would not count as this one's."""
    if device.type == "cuda" and hasattr(torch._C, "_cuda_clearCublasWorkspaces"):
        torch._C._cuda_clearCublasWorkspaces()
