"""Memory of one call: peak, activations, what is saved for backward, and who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily

if TYPE_CHECKING:
    from convbench.measures.memory.measure import measure_memory
    from convbench.measures.memory.result import LiveTensor, Memory, MemoryEvent, ModuleShare

__all__ = ["LiveTensor", "Memory", "MemoryEvent", "ModuleShare", "measure_memory"]

__getattr__ = lazily(
    __name__,
    {
        "result": "LiveTensor Memory MemoryEvent ModuleShare",
        "measure": "measure_memory",
    },
)
