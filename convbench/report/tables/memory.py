"""What is alive at the memory peak, as terminal tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from convbench.report.units import bytes_

if TYPE_CHECKING:
    from convbench.measures.memory import Memory


def peak_modules_table(memory: Memory) -> Table:
    """Bytes alive at the peak by the module whose operators made them, largest first; the rows add up to the peak."""
    table = _table("alive at the peak, made in", "bytes", "share", "tensors", numbers=(1, 2, 3))
    total = sum(share.bytes for share in memory.by_module)
    for share in memory.by_module:
        table.add_row(share.module or "(whole)", bytes_(share.bytes), f"{share.bytes / total:.1%}", f"{share.tensors}")
    return table


def peak_tensors_table(memory: Memory) -> Table:
    """The largest tensors alive at the peak, weights excluded."""
    table = _table("largest at the peak", "shape", "dtype", "made by", "in", "phase", numbers=(0,))
    for tensor in memory.top_tensors:
        shape = "×".join(map(str, tensor.shape)) or "scalar"
        made_in = "" if tensor.phase is None else tensor.module or "(whole)"
        table.add_row(bytes_(tensor.bytes), shape, tensor.dtype, tensor.operator, made_in, tensor.phase or "before")
    return table


def _table(*titles: str, numbers: tuple[int, ...]) -> Table:
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for index in numbers:
        table.columns[index].justify = "right"
    return table
