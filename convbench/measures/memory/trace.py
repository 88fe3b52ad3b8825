"""One call traced by storage lifetimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convbench.execution.as_written import as_written
from convbench.execution.attention import attention_as_on
from convbench.execution.guard import uncollected
from convbench.execution.modules import ModuleTree
from convbench.execution.step import Step
from convbench.execution.tensors import held_tensors, tensors_in
from convbench.measures.memory.ledger import StorageLedger
from convbench.measures.memory.lifetimes import LifetimeMode
from convbench.measures.memory.result import INPUT, WEIGHTS, LiveTensor, MemoryEvent


@dataclass(frozen=True, slots=True)
class Trace:
    """Figures of one call, in bytes; the names are those of `Memory`. alive: at the peak, largest first."""

    weights_bytes: int
    input_bytes: int
    output_bytes: int
    peak_bytes: int
    forward_peak_bytes: int
    backward_peak_bytes: int | None
    saved_for_backward_bytes: int | None
    gradients_bytes: int | None
    alive: tuple[LiveTensor, ...]
    timeline: tuple[MemoryEvent, ...]
    notes: tuple[str, ...]


def trace(step: Step, limit_bytes: int | None = None) -> Trace:
    """Run ``step`` once and follow every storage. The module must be a throw-away clone.

    limit_bytes: MemoryError once more than this is alive.
    """
    tracer = _Tracer(step, limit_bytes)
    with uncollected():
        return tracer.run()


class _Tracer:
    def __init__(self, step: Step, limit_bytes: int | None) -> None:
        self._step = step
        device = next((tensor.device.type for tensor in step.inputs), "cpu")
        # A scalar on the host is no memory of the accelerator; meta tensors stand for a device's and a host's alike.
        only = device if device not in ("cpu", "meta") else None
        self._on_shapes = device == "meta"
        self._tree = ModuleTree(step.module)
        self._ledger = StorageLedger(lambda: self._tree.running().path, only, limit_bytes)
        self._mode = LifetimeMode(self._ledger)
        self._output_bytes = 0
        self._saved_bytes: int | None = None

    def run(self) -> Trace:
        ledger, step = self._ledger, self._step
        step.clear_gradients()
        weights_bytes = ledger.hold(held_tensors(step.module), WEIGHTS)
        input_bytes = ledger.hold(step.inputs, INPUT)
        ledger.begin("forward")
        saving = torch.autograd.graph.saved_tensors_hooks(self._save, _same)
        try:
            with (
                as_written(on_shapes=self._on_shapes),
                attention_as_on("cpu"),
                saving,
                self._tree.following(),
                self._mode,
            ):
                step.run(self._forward_done)
            gradients = ledger.bytes_of(step.gradients()) if step.mode == "training" else None
        finally:
            ledger.close()
        peak = ledger.peak()
        return Trace(
            weights_bytes,
            input_bytes,
            self._output_bytes,
            peak.live_bytes,
            forward_peak_bytes=ledger.peak("forward").live_bytes,
            backward_peak_bytes=ledger.peak("backward").live_bytes if step.mode == "training" else None,
            saved_for_backward_bytes=self._saved_bytes,
            gradients_bytes=gradients,
            alive=tuple(ledger.alive_at(peak.index)),
            timeline=tuple(ledger.events),
            notes=tuple(self._notes()),
        )

    def _save(self, tensor: Tensor) -> Tensor:
        self._ledger.save(tensor)
        return tensor

    def _forward_done(self, outputs: Sequence[Tensor]) -> None:
        self._output_bytes = self._ledger.bytes_of(outputs)
        if self._step.records_gradients:
            for tensor in kept_by_contexts(outputs):
                self._ledger.save(tensor)
            self._saved_bytes = self._ledger.saved_bytes()
        if self._step.mode == "training":
            self._ledger.begin("backward")

    def _notes(self) -> Iterator[str]:
        if self._ledger.opaque:
            yield f"tensors without a storage were not counted; they come from {', '.join(sorted(self._ledger.opaque))}"
        if self._mode.units:
            yield f"what {', '.join(sorted(self._mode.units))} allocates inside was not seen"


def kept_by_contexts(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Tensors that an autograd function keeps for backward as attributes of its context, past ``save_for_backward``."""
    waiting: list[Any] = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield from tensors_in(list(getattr(node, "__dict__", {}).values()))  # nodes of torch's own have none
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _same(tensor: Tensor) -> Tensor:
    return tensor
