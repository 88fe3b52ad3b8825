"""What was changed in a host, layer by layer, and why the rest was not. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convbench.registry import Kind

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer of the host that was asked for.

    was, becomes: in words; ``becomes`` is empty where the layer was left as it is, and ``reason`` says why.
    remark: what the block does not take over from the layer (a bias, a kernel size).
    shapes: of the layer's input, one for each call. params and MACs: of the layer alone, one forward at these shapes;
    None for what is not there.
    """

    layer: str
    was: str
    becomes: str = ""
    reason: str = ""
    remark: str = ""
    shapes: tuple[Shape, ...] = ()
    params_before: int | None = None
    params_after: int | None = None
    macs_before: int | None = None
    macs_after: int | None = None

    @property
    def changed(self) -> bool:
        """Whether the block is in the layer's place, or after it."""
        return bool(self.becomes)


@dataclass(frozen=True, slots=True)
class Plugged:
    """The host with the block in it, and every layer that was asked for."""

    module: nn.Module
    changes: tuple[LayerChange, ...]

    @property
    def changed(self) -> tuple[LayerChange, ...]:
        """The layers in which the block is."""
        return tuple(change for change in self.changes if change.changed)

    @property
    def skipped(self) -> tuple[LayerChange, ...]:
        """The layers that stayed as they are."""
        return tuple(change for change in self.changes if not change.changed)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plugged host in a file, for measuring processes.

    host, kind, options: of the host as it was; block: the block's name. packed: the plugged host, as `Packed` says it.
    """

    host: str
    kind: Kind
    options: Mapping[str, Any]
    block: str
    packed: Mapping[str, Any]
    changes: tuple[LayerChange, ...]
