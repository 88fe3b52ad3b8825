"""What a worker process does to estimate a study: count its cases on the meta device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch  # noqa: TID253

from convbench.calibration import load_calibration
from convbench.case import Case
from convbench.errors import DeviceError, UsageError
from convbench.execution.device import device_name, require_device, torch_dtype
from convbench.measures.job import identity_of, take
from convbench.measures.latency.settings import PROFILE
from convbench.measures.outcome import Outcome
from convbench.measures.peaks import copy_bandwidth, peak_flops
from convbench.records import Record, record_of
from convbench.sweeps.task import Task
from convbench.target.blueprint import blueprint
from convbench.workers.worker import Send

# What an estimate is made of. The blocks of this project took 0.6 to 25 times the time of the roofline at dims 32 and
# 128, sizes 14 and 56, on the CPU; half of them more than three times it. The rest was read off the same runs.
_ROOFLINES = 3
_START_S, _COMPILING_S, _WARM_UP_S = 2.5, 15.0, 0.5
_TIMED_CALLS, _ERF_CALLS = 800, 64
_COUNTING_S = 0.05
_TRIAL_S, _TRIAL_BYTES = 0.1, 2**26


def run(request: Mapping[str, Any], send: Send) -> None:
    """One message for each of ``request["tasks"]``, in their order: ``record``, ``call_s`` and ``wall_s``."""
    for row in request["tasks"]:
        send(_estimate(Task.from_json(row)))


def _estimate(task: Task) -> dict[str, Any]:
    """Counted with the weights left out: their values decide about nothing here."""
    outcome = Outcome(dataclasses.replace(task.case, device="meta", weights=None, pretrained=False))
    try:
        plan = blueprint(outcome.case)
        outcome.identity = identity_of(plan)
        for name, result, error in take(plan.subject(), ("params", "cost", "memory"), {}):
            if error is not None:
                outcome.fail(name, error)
            else:
                outcome.results[name] = result
    except UsageError as error:
        outcome.fail("build", error)
    record = record_of(outcome)
    call_s = _call_s(task.case, record)
    record = dataclasses.replace(record, device=task.case.device, device_name=None)
    return {"record": record.to_row(), "call_s": call_s, "wall_s": _wall_s(task, call_s)}


def _call_s(case: Case, record: Record) -> float | None:
    """Time of one call: the roofline's, times what blocks usually take of it. None where that is not known."""
    peaks = (
        None if case.device == "meta" else _peaks(case.device, case.threads, case.autocast or case.dtype or "float32")
    )
    if peaks is None or record.flops is None or record.bytes_moved is None:
        return None
    flops_per_s, bytes_per_s = peaks
    return _ROOFLINES * float(max(record.flops / flops_per_s, record.bytes_moved / bytes_per_s))


@cache
def _peaks(device: str, threads: int, dtype: str) -> tuple[float, float] | None:
    """Operations and bytes a second: those of `convbench calibrate`, or on the CPU those of a moment's trial."""
    kept = load_calibration(device, threads, device_name(device)) if _present(device) else None
    if kept is not None:
        rate = kept.flops_per_s.get(dtype)
        return None if rate is None else (rate, kept.bytes_per_s)
    if device != "cpu":
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rate = peak_flops(torch_dtype(dtype), torch.device(device), _TRIAL_S)
        return None if rate is None else (rate, copy_bandwidth(_TRIAL_BYTES, torch.device(device), _TRIAL_S))
    finally:
        torch.set_num_threads(before)


def _present(device: str) -> bool:
    try:
        require_device(device)
    except DeviceError:
        return False
    return True


def _wall_s(task: Task, call_s: float | None) -> float | None:
    """Time that measuring takes: processes are started, calls are repeated."""
    seconds = _COUNTING_S  # every case is counted, to see that it accepts its input
    if task.case.device == "meta":
        return seconds
    if call_s is None:
        return None if {"memory", "latency", "erf"} & set(task.measures) else seconds
    seconds += (_START_S + 3 * call_s) * ("memory" in task.measures)
    seconds += _ERF_CALLS * call_s * ("erf" in task.measures)
    settings = task.plan().settings.get("latency")
    if settings is not None:
        processes = settings.replicates(PROFILE)
        compiling = _COMPILING_S if task.case.execution == "compiled" else 0.0
        seconds += processes * (_START_S + compiling)
        seconds += min(settings.budget_s(PROFILE), processes * (_WARM_UP_S + _TIMED_CALLS * call_s))
    return seconds
