"""What counting gives: figures for the whole, for each operator and for each module, which add up exactly."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypedDict

from convbench.column import column, derived

Method = Literal["meta", "fake", "real"]


class Kind(StrEnum):
    """How far the ledger vouches for an operator."""

    EXACT = "exact"
    """A closed form in multiply–accumulates."""
    INTEGER = "exact, of integers"
    """A closed form in multiply–accumulates of integers."""
    ELEMENTWISE = "element-wise"
    """A documented number of floating-point operations for each element."""
    ZERO_COST = "zero cost"
    """No floating-point arithmetic: views, copies, indexing, creation."""
    UNKNOWN = "unknown"
    """No rule: named, numbered, and the total is a lower bound."""


class FigureValues(TypedDict):
    """The values of `Figures` by name."""

    macs: int
    sampling_macs: int
    flops: int
    bytes_moved: int
    padding_macs: int
    batch_independent_macs: int
    activations: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The quantities that add up over operators and modules.

    macs: multiply–accumulates of convolutions, linear layers and matrix products; biases not counted.
    sampling_macs: weighted sums of interpolated sampling, apart from ``macs``.
    flops: every floating-point operation, two for each multiply–accumulate included.
    bytes_moved: eager traffic, each operator's inputs read and outputs written once.
    padding_macs: the part of ``macs`` that falls on padding.
    batch_independent_macs: the part of ``macs`` that does not depend on the input.
    activations: elements in the forward results of the operators that have MACs (Radosavovic et al. 2020).
    """

    macs: int = column(
        0,
        title="MACs",
        convention="multiply–accumulates of convolutions, linear and matrix products of one call, biases not counted",
        show="count",
        summary="MACs",
        exact=True,
    )
    sampling_macs: int = column(
        0,
        title="Sampling MACs",
        convention="weighted sums of deformable sampling, not in MACs",
        show="count",
        exact=True,
        after="algorithmic_macs",
    )
    flops: int = column(
        0,
        title="FLOPs",
        convention="every floating-point operation of one call; 2 per multiply–accumulate",
        show="count",
        summary="FLOPs",
        exact=True,
    )
    bytes_moved: int = column(
        0,
        title="Bytes moved",
        unit="B",
        convention="eager: every operator reads its inputs and writes its outputs once",
        show="bytes",
        exact=True,
    )
    padding_macs: int = column(
        0, title="MACs on padding", convention="the part of MACs that multiplies zero padding", show="count", exact=True
    )
    batch_independent_macs: int = column(
        0,
        title="Batch-independent MACs",
        convention="the part of MACs that does not grow with the batch",
        show="count",
        exact=True,
    )
    activations: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.macs + other.macs,
            self.sampling_macs + other.sampling_macs,
            self.flops + other.flops,
            self.bytes_moved + other.bytes_moved,
            self.padding_macs + other.padding_macs,
            self.batch_independent_macs + other.batch_independent_macs,
            self.activations + other.activations,
        )

    def values(self) -> FigureValues:
        """The seven figures by name."""
        return {
            "macs": self.macs,
            "sampling_macs": self.sampling_macs,
            "flops": self.flops,
            "bytes_moved": self.bytes_moved,
            "padding_macs": self.padding_macs,
            "batch_independent_macs": self.batch_independent_macs,
            "activations": self.activations,
        }


@dataclass(frozen=True, slots=True)
class OperatorCost(Figures):
    """All calls of one operator; the figures are their sum."""

    name: str = ""
    kind: Kind = Kind.UNKNOWN
    calls: int = 0


@dataclass(frozen=True, slots=True)
class ModuleCost:
    """One place in the module tree.

    own: operators that ran in the module itself; total: with those of the modules below it.
    output_shapes: sizes of the tensors in the result of its last call; empty if it was not called.
    """

    path: str
    type: str
    depth: int
    calls: int
    output_shapes: tuple[tuple[int, ...], ...]
    own: Figures
    total: Figures


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An operator that ran and has no cost rule."""

    name: str
    calls: int


@dataclass(frozen=True, slots=True)
class Cost(Figures):
    """Cost of one forward pass (with ``training``: and its backward pass) at the batch size given.

    algorithmic_macs: MACs if modules that declare a cheaper algorithm ran it; equal to ``macs`` where none does. None
        in training where one does: a declaration covers a forward pass.
    forward_macs, backward_macs: the parts of ``macs``; a checkpoint's re-run forward counts as backward.
    ideal_bytes: lower bound of the traffic: inputs, the parameters and buffers that are used, and outputs, each once
        (training: their gradients too).
    padding_macs_share: share of ``macs`` that falls on padding, 0 to 1.
    macs_per_sample: what each sample of the batch adds: (macs − batch_independent_macs) / batch size.
    uncounted: operators without a rule; empty if the figures are complete, else they are lower bounds.
    method: the tensors it ran on: ``"meta"``, ``"fake"`` or ``"real"``; ``reason`` says why not meta.
    """

    algorithmic_macs: int | None = column(
        0,
        title="Algorithmic MACs",
        convention="MACs that the target's algorithm needs, however it is written",
        show="count",
        exact=True,
        after="macs",
    )
    forward_macs: int = 0
    backward_macs: int = 0
    ideal_bytes: int = 0
    macs_per_sample: int | float = 0
    uncounted: tuple[Uncounted, ...] = column(
        (),
        title="Uncounted",
        convention="operators without a cost formula: MACs and FLOPs are lower bounds",
        exact=True,
        after="arithmetic_intensity",
        said=lambda found: "; ".join(f"{item.name}×{item.calls}" for item in found) or None,
    )
    operators: tuple[OperatorCost, ...] = ()
    modules: tuple[ModuleCost, ...] = ()
    training: bool = False
    method: Method = "meta"
    reason: str | None = None

    @property
    def is_lower_bound(self) -> bool:
        """True if an operator without a rule ran."""
        return bool(self.uncounted)

    @property
    def is_spelled_out(self) -> bool:
        """True if a module ran in a form that does more than its algorithm needs."""
        return self.algorithmic_macs not in (None, self.macs)

    @property
    def padding_macs_share(self) -> float:
        """Share of ``macs`` that falls on padding; 0 where there are none."""
        return self.padding_macs / self.macs if self.macs else 0.0

    @derived(title="Intensity", unit="FLOP/B", convention="FLOPs / bytes moved", show="number", after="bytes_moved")
    def arithmetic_intensity(self) -> float:
        """Floating-point operations for each byte moved; 0 where nothing moves."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0
