"""A block in a host's place of convolutions, or after its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily

if TYPE_CHECKING:
    from convbench.plugging.block import Block, load_block
    from convbench.plugging.change import LayerChange, Plugged
    from convbench.plugging.insert import insert_after
    from convbench.plugging.replace import replace_convs

__all__ = ["Block", "LayerChange", "Plugged", "insert_after", "load_block", "replace_convs"]

__getattr__ = lazily(
    __name__,
    {
        "block": "Block load_block",
        "change": "LayerChange Plugged",
        "insert": "insert_after",
        "replace": "replace_convs",
    },
)
