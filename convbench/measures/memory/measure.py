"""Memory of a subject's call, by the methods that its device allows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from convbench.errors import ConvbenchError, OutOfMemory
from convbench.measures.memory import budget
from convbench.measures.memory.accelerator import allocator_of, allocator_peak
from convbench.measures.memory.high_water import high_water_growth
from convbench.measures.memory.isolation import Copier, random_state_kept, real_copies, shapes_alone
from convbench.measures.memory.ledger import by_module
from convbench.measures.memory.result import WEIGHTS, Memory, Method
from convbench.measures.memory.step import Step, step_of
from convbench.measures.memory.trace import Trace, trace
from convbench.target.blueprint import Subject
from convbench.workers.process import Worker

Copies = Callable[[], AbstractContextManager[Copier]]

_TOP_TENSORS = 10
_RESOLUTION_BYTES = 2**18
_NO_STATISTICS = "{} keeps no statistics of its peak: what libraries take inside operators is not seen"
_COMPILED = "traced eagerly: a compiled call fuses operators and allocates less"


def measure_memory(subject: Subject, *, high_water: bool = True, worker: Worker | None = None) -> Memory:
    """Peak memory of one call of ``subject``, what it consists of, and the course of the call; see `Memory`.

    Storage lifetimes are followed on throw-away copies, so that ``subject`` stays as it was, after an exception too. On
    the CPU real tensors are followed where they fit into memory and shapes alone where they do not, and a fresh process
    checks the figure by its high-water mark (unless ``high_water`` is false). On CUDA and XPU the allocator's
    statistics give the peak, and storage lifetimes what it consists of. MPS has none: there storages give the peak.

    worker: the process for the check, of `start_high_water`; unless given, one is started.

    Raises OutOfMemory where the device has too little, and MeasurementError where the subject cannot be copied or, in
    training, has nothing to differentiate; what the subject's own code raises passes through.
    """
    device = torch.device(subject.case.device)
    with random_state_kept(device):
        if device.type in ("cuda", "xpu"):
            return _on_accelerator(subject, device)
        if device.type == "cpu":
            return _on_cpu(subject, high_water, worker)
        if device.type == "meta":
            return _on_shapes(subject)
        return _noted(_memory(_trace(subject, real_copies), "storages"), _NO_STATISTICS.format(device.type))


def _on_cpu(subject: Subject, high_water: bool, worker: Worker | None) -> Memory:
    room = budget.budget_bytes()
    try:
        with budget.limited(room):
            memory = _memory(_trace(subject, real_copies, room), "storages")
    except Exception as error:
        if not budget.is_out_of_memory(error):
            raise
        return _too_large(subject, room)
    if subject.case.execution == "compiled":
        return _noted(memory, _COMPILED)
    return _checked(memory, subject, worker) if high_water else memory


def _too_large(subject: Subject, room: int) -> Memory:
    try:
        memory = _on_shapes(subject)
    except Exception as error:  # an operator whose result depends on values cannot run on shapes
        raise OutOfMemory(
            f"the call does not fit into {room} bytes, four fifths of the free memory, and it cannot be traced on "
            f"shapes alone ({type(error).__name__}: {error}); take a smaller --size or --batch"
        ) from error
    return _noted(memory, f"does not fit into the {room} bytes that are free: traced on shapes alone")


def _on_shapes(subject: Subject) -> Memory:
    autocast = subject.autocast is not None
    traced = _trace(subject, lambda: shapes_alone(autocast))
    return _memory(traced, "storages (fake)" if autocast else "storages (meta)")


def _checked(memory: Memory, subject: Subject, worker: Worker | None) -> Memory:
    """``memory`` with the high-water mark of a fresh process beside it."""
    try:
        growth = high_water_growth(subject, worker)
    except ConvbenchError as error:  # whatever the check fails of, the figure itself stands
        return _noted(memory, f"not cross-checked by a fresh process: {error}")
    mark = memory.weights_bytes + memory.input_bytes + growth
    workspace = mark - memory.peak_bytes
    memory = replace(memory, high_water_bytes=mark, workspace_bytes=max(workspace, 0))
    if workspace < -max(_RESOLUTION_BYTES, memory.peak_bytes // 100):
        return _noted(
            memory, f"a fresh process stays {-workspace} bytes below the tensors: some are never written whole"
        )
    return memory


def _on_accelerator(subject: Subject, device: torch.device) -> Memory:
    step = _copied_step(subject, Copier())
    if subject.case.execution == "compiled":
        step = replace(step, module=torch.compile(step.module))  # type: ignore[arg-type]
    try:
        peak = allocator_peak(step.run, step.clear_gradients, device, allocator_of(device))
        del step
        traced = _trace(subject, real_copies)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{device} ran out of memory: {error}") from error
    memory = _memory(traced, "cuda" if device.type == "cuda" else "xpu")
    total = memory.weights_bytes + memory.input_bytes + peak.growth_bytes
    compiled = subject.case.execution == "compiled"
    return replace(
        memory,
        peak_bytes=total,
        high_water_bytes=peak.reserved_bytes,
        workspace_bytes=None if compiled else total - memory.peak_bytes,
        notes=(*memory.notes, "by module: " + _COMPILED) if compiled else memory.notes,
    )


def _trace(subject: Subject, copies: Copies, limit_bytes: int | None = None) -> Trace:
    """Trace one call on copies; twice where the first one imported modules, for an import leaves garbage behind."""
    imported = len(sys.modules)
    result = _trace_once(subject, copies, limit_bytes)
    return result if len(sys.modules) == imported else _trace_once(subject, copies, limit_bytes)


def _trace_once(subject: Subject, copies: Copies, limit_bytes: int | None) -> Trace:
    with copies() as copier:
        return trace(_copied_step(subject, copier), limit_bytes)


def _copied_step(subject: Subject, copier: Copier) -> Step:
    args, kwargs = copier.arguments((subject.args, dict(subject.kwargs)))
    return step_of(subject, copier.module(subject.module), args, kwargs)


def _memory(traced: Trace, method: Method) -> Memory:
    return Memory(
        traced.weights_bytes,
        traced.input_bytes,
        traced.output_bytes,
        traced.peak_bytes,
        method,
        forward_peak_bytes=traced.forward_peak_bytes,
        backward_peak_bytes=traced.backward_peak_bytes,
        saved_for_backward_bytes=traced.saved_for_backward_bytes,
        gradients_bytes=traced.gradients_bytes,
        by_module=by_module(traced.alive),
        top_tensors=tuple(tensor for tensor in traced.alive if tensor.operator != WEIGHTS)[:_TOP_TENSORS],
        timeline=traced.timeline,
        notes=traced.notes,
    )


def _noted(memory: Memory, note: str) -> Memory:
    return replace(memory, notes=(*memory.notes, note))
