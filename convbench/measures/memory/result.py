"""What measuring memory gives: sizes in bytes, who held them at the peak, and the course of the call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from convbench.column import column, derived, described

Method = Literal["storages", "storages (meta)", "storages (fake)", "cuda", "xpu"]
Phase = Literal["forward", "backward"]

WEIGHTS = "(weights)"
INPUT = "(input)"
EXISTING = "(existing)"


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """One change of what is allocated.

    change_bytes: above zero when ``operator`` allocated, below zero when something that it had made was freed.
    module: path of the innermost module that ran ``operator``, or whose forward it differentiates; the root's is empty.
    phase: when the change happened.
    live_bytes: all that is alive after the change, weights and input included.
    """

    index: int
    operator: str
    module: str
    phase: Phase
    change_bytes: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class LiveTensor:
    """A storage, described by the first tensor seen on it; views of it are not counted again.

    operator: what created it; ``(weights)`` and ``(input)`` were there before the call, ``(existing)`` came from
        elsewhere, such as a NumPy array, and is counted from its first use.
    phase: when it was created; None for what was there before.
    """

    bytes: int
    shape: tuple[int, ...]
    dtype: str
    operator: str
    module: str
    phase: Phase | None


@dataclass(frozen=True, slots=True)
class ModuleShare:
    """What one module's operators had made and was alive at the peak; ``(weights)`` and ``(input)`` have rows too."""

    module: str
    bytes: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one call: one forward, or in training one forward and backward from cleared gradients.

    The training step is ``sum(outputs).backward()`` with the outputs released once they are summed, so that neither a
    loss nor the outputs' own gradient adds to the block's figures.

    method: what gave the peak. ``storages`` follows real tensors; ``(meta)`` shapes alone, and ``(fake)`` likewise
        under autocast: there a few operators and blocks take another path, or return other small tensors.
    peak_bytes: highest simultaneous allocation, weights and input included. By storages it is every tensor and no
        workspace inside an operator; by an accelerator's allocator (``method`` cuda, xpu) it is the workspaces as well.
    activation_peak_bytes: peak_bytes − weights_bytes − input_bytes.
    weights_bytes: parameters, buffers and other tensors that the module holds, each storage once.
    input_bytes, output_bytes: storages of the arguments and of the outputs.
    saved_for_backward_bytes: what autograd keeps from forward to backward, each storage once, weights excluded; an
        input that is saved counts. None in inference.
    gradients_bytes: gradients of parameters and inputs after a training step, else None.
    forward_peak_bytes, backward_peak_bytes: peak of each phase, as peak_bytes; without backward None.
    high_water_bytes: the same peak as a process sees it: on the CPU weights + input + growth of a fresh process's
        high-water mark, with malloc's thresholds fixed; on accelerators the most that the caching allocator reserved.
        None where not measured.
    workspace_bytes: what libraries took inside operators: high_water_bytes (on accelerators peak_bytes) − the peak by
        storages, or 0 where that is negative: pages are counted by the kernel to about a quarter of a MiB, and only
        those that are written.
    by_module: what was alive at the peak, largest first; adds up to the peak by storages.
    top_tensors: the largest of it, weights excluded.
    timeline: every change in order; each phase begins with an event that changes nothing.
    """

    weights_bytes: int
    input_bytes: int
    output_bytes: int
    peak_bytes: int = field(
        metadata=described(
            title="Peak memory",
            unit="B",
            convention="highest simultaneous allocation during the call, weights and input too",
            show="bytes",
            summary="peak memory",
            exact=True,
        )
    )
    method: Method
    forward_peak_bytes: int
    backward_peak_bytes: int | None = None
    saved_for_backward_bytes: int | None = column(
        None,
        title="Saved for backward",
        unit="B",
        convention="kept from the forward to the backward pass",
        show="bytes",
        exact=True,
    )
    gradients_bytes: int | None = None
    high_water_bytes: int | None = None
    workspace_bytes: int | None = None
    by_module: tuple[ModuleShare, ...] = ()
    top_tensors: tuple[LiveTensor, ...] = ()
    timeline: tuple[MemoryEvent, ...] = ()
    notes: tuple[str, ...] = ()

    @derived(
        title="Peak activations",
        unit="B",
        convention="peak memory − weights − input",
        show="bytes",
        exact=True,
        after="peak_bytes",
    )
    def activation_peak_bytes(self) -> int:
        """peak_bytes − weights_bytes − input_bytes."""
        return self.peak_bytes - self.weights_bytes - self.input_bytes

    @property
    def above_weights_bytes(self) -> int:
        """peak_bytes − weights_bytes: what the call needs next to the loaded module."""
        return self.peak_bytes - self.weights_bytes
