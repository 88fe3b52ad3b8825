"""What was changed in a host, layer by layer, and why the rest was not. Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from convbench.registry import Kind

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

_DENSE = 1.5
"""By what factor the MACs of depthwise convs grow where their place is taken by something dense."""


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer of the host that was asked for.

    was, becomes: in words; ``becomes`` is empty where the layer was left as it is, and ``reason`` says why.
    remark: what the block does not take over from the layer (a bias, a kernel size).
    how: whether the block took the layer's place or comes after it. arguments: with which it was built.
    depthwise: whether the layer was a depthwise conv. width: channels of its input.
    shapes: of the layer's input, one for each call. params and MACs: of the layer alone, one forward at these shapes;
    None for what is not there.
    """

    layer: str
    was: str
    becomes: str = ""
    reason: str = ""
    remark: str = ""
    how: Literal["replaced", "after"] = "replaced"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    depthwise: bool = False
    width: int | None = None
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
    """The host with the block in it, and every layer that was asked for.

    keeps_shape: whether the block takes no output width and no stride, so that it fits where these are kept alone.
    """

    module: nn.Module
    changes: tuple[LayerChange, ...]
    keeps_shape: bool = False

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
    params: of the plugged host. code: that builds it; weights: file that holds its state; None unless asked for.
    """

    host: str
    kind: Kind
    options: Mapping[str, Any]
    block: str
    packed: Mapping[str, Any]
    changes: tuple[LayerChange, ...]
    keeps_shape: bool
    params: int
    code: str | None = None
    weights: str | None = None

    @property
    def name(self) -> str:
        """What tables call the plugged host."""
        return f"{self.host}+{self.block}"


def summary(block: str, changes: Sequence[LayerChange], params: int, *, keeps_shape: bool) -> Iterator[str]:
    """What a reader of the totals would miss, a line each.

    params: of the plugged host. keeps_shape: see `Plugged`.
    """
    changed = [change for change in changes if change.changed]
    yield f"{block} is in {len(changed)} of {len(changes)} layers"
    yield from _of_skipped([change.reason for change in changes if not change.changed])
    yield from _of_depthwise(block, changed)
    fresh = sum(change.params_after or 0 for change in changed)
    if fresh and params:
        yield (
            f"{fresh:,} of {params:,} parameters ({fresh / params:.0%}) are fresh and untrained; all others are the "
            "host's, bit for bit"
        )
    widths = [change.width for change in changed if change.width is not None]
    if keeps_shape and widths:
        yield f"{block} keeps width and size: the widest layer that it takes here has {max(widths)} channels"
    alone = sum("in training alone" in change.remark for change in changed)
    if alone:
        yield f"{alone} of its layers {'runs' if alone == 1 else 'run'} in training alone: inference does not show them"


def _of_skipped(reasons: Sequence[str]) -> Iterator[str]:
    """One line for all reasons that differ in their numbers alone."""
    kinds = Counter(re.sub(r"[\d×]+", "#", reason) for reason in reasons)
    for kind, times in kinds.most_common():
        alike = dict.fromkeys(reason for reason in reasons if re.sub(r"[\d×]+", "#", reason) == kind)
        more = "" if len(alike) == 1 else f", or the like ({len(alike)} kinds)"
        yield f"{times} {'stays' if times == 1 else 'stay'} as before: {next(iter(alike))}{more}"


def _of_depthwise(block: str, changed: Sequence[LayerChange]) -> Iterator[str]:
    found = [change for change in changed if change.depthwise and change.how == "replaced"]
    before, after = (sum(getattr(c, name) or 0 for c in found) for name in ("macs_before", "macs_after"))
    if found and after > _DENSE * before:
        what = "a depthwise conv" if len(found) == 1 else f"{len(found)} depthwise convs"
        yield (
            f"{block} mixes channels in the place of {what}, which did not: MACs of these layers "
            f"{before:,} → {after:,}, ×{after / before:.1f}"
        )
