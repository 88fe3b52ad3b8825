"""Memory of a subject's call, by the methods that its device allows."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import nn

from convbench.errors import ConvbenchError, OutOfMemory
from convbench.execution import headroom
from convbench.execution.clone import cloning
from convbench.execution.guard import isolated
from convbench.execution.out_of_memory import is_out_of_memory
from convbench.execution.tensors import How
from convbench.measures.memory.accelerator import allocator_of, allocator_peak
from convbench.measures.memory.high_water import high_water_growth
from convbench.measures.memory.ledger import by_module
from convbench.measures.memory.result import WEIGHTS, Memory, Method
from convbench.measures.memory.trace import Trace, trace
from convbench.target.blueprint import Subject
from convbench.workers.process import Worker

_TOP_TENSORS = 10
_RESOLUTION_BYTES = 2**18
_NO_STATISTICS = "{} keeps no statistics of its peak: what libraries take inside operators is not seen"
_RESERVE = (
    "what LSTM's kernel keeps for the backward pass in a form of its own (about 15 numbers a hidden unit and step) has "
    "a size that only a real run tells: it is left out"
)
_COMPILED = "traced eagerly: a compiled call fuses operators and allocates less"


def run(subject: Subject, settings: None = None, checker: Worker | None = None) -> Memory:
    """The measure of a built case; without ``checker`` no fresh process checks it."""
    return measure_memory(subject, high_water=checker is not None, worker=checker)


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
    with isolated(device, fast_attention=True):
        if device.type in ("cuda", "xpu"):
            return _on_accelerator(subject, device)
        if device.type == "cpu":
            return _on_cpu(subject, high_water, worker)
        if device.type == "meta":
            return _on_shapes(subject)
        return _noted(_memory(_trace(subject, "real"), "storages"), _NO_STATISTICS.format(device.type))


def _on_cpu(subject: Subject, high_water: bool, worker: Worker | None) -> Memory:
    budget = headroom.budget_bytes()
    try:
        with headroom.limited(budget):
            memory = _memory(_trace(subject, "real", budget), "storages")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _too_large(subject, budget)
    if subject.case.execution == "compiled":
        return _noted(memory, _COMPILED)
    return _checked(memory, subject, worker) if high_water else memory


def _too_large(subject: Subject, budget: int) -> Memory:
    try:
        memory = _on_shapes(subject)
    except Exception as error:  # an operator whose result depends on values cannot run on shapes
        raise OutOfMemory(
            f"the call does not fit into {budget} bytes, four fifths of the free memory, and it cannot be traced on "
            f"shapes alone ({type(error).__name__}: {error}); take a smaller --size or --batch"
        ) from error
    return _noted(memory, f"does not fit into the {budget} bytes that are free: traced on shapes alone")


def _on_shapes(subject: Subject) -> Memory:
    recurrent = any(isinstance(part, nn.RNNBase) for part in subject.module.modules())
    if subject.autocast is None and not recurrent:
        return _memory(_trace(subject, "meta"), "storages (meta)")
    # Autocast does nothing on meta tensors, and recurrent layers run other kernels there.
    memory = _memory(_trace(subject, "fake"), "storages (fake)")
    if subject.records_gradients and any(isinstance(part, nn.LSTM) for part in subject.module.modules()):
        return _noted(memory, _RESERVE)
    return memory


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
    try:
        with cloning("real") as cloner:
            step = subject.step(cloner)
        if subject.case.execution == "compiled":
            step = replace(step, call=torch.compile(step.module))
        peak = allocator_peak(step.run, step.clear_gradients, device, allocator_of(device))
        del step, cloner
        traced = _trace(subject, "real")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{device} ran out of memory: {error}") from error
    memory = _memory(traced, "cuda" if device.type == "cuda" else "xpu")
    total = memory.weights_bytes + memory.input_bytes + peak.growth_bytes
    compiled = subject.case.execution == "compiled"
    return replace(
        memory,
        peak_bytes=total,
        high_water_bytes=memory.weights_bytes + memory.input_bytes + peak.reserved_bytes,
        workspace_bytes=None if compiled else total - memory.peak_bytes,
        notes=(*memory.notes, "by module: " + _COMPILED) if compiled else memory.notes,
    )


def _trace(subject: Subject, how: How, limit_bytes: int | None = None) -> Trace:
    """Trace one call on clones; twice where the first one imported modules, for an import leaves garbage behind."""
    imported = len(sys.modules)
    result = _trace_once(subject, how, limit_bytes)
    if len(sys.modules) != imported:
        result = _trace_once(subject, how, limit_bytes)
    if any(type(part).__name__ == "OptimizedModule" for part in subject.module.modules()):
        return replace(result, notes=(*result.notes, "compiled modules were traced eagerly"))
    return result


def _trace_once(subject: Subject, how: How, limit_bytes: int | None) -> Trace:
    errors = []
    for values in (False, True) if how == "meta" else (True,):  # a detector asks its plain tensors for numbers
        try:
            with cloning(how, values=values) as cloner:
                return trace(subject.step(cloner), limit_bytes)
        except Exception as error:  # the target's own code runs here
            errors.append(error)
    raise errors[0]


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
