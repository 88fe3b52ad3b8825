"""Memory of one call: peak, activations, what is saved for backward, and who holds it."""

from convbench.measures.memory.measure import measure_memory
from convbench.measures.memory.result import LiveTensor, Memory, MemoryEvent, ModuleShare

__all__ = ["LiveTensor", "Memory", "MemoryEvent", "ModuleShare", "measure_memory"]
