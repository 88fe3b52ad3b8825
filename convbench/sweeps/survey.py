"""Looking over a study before anything is measured: wrong requests, and what its cases take, from the meta device.

The work is done in a worker process by `convbench.sweeps.survey_job`; this is the side that asks. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convbench.errors import DeviceError, MeasurementError, OptionError, UsageError
from convbench.measures.carry_out import Measurer
from convbench.records import Record
from convbench.registry import entries
from convbench.sweeps.study import Places, Study
from convbench.sweeps.task import Task
from convbench.sweeps.vetting import LOOK_LIMIT_S
from convbench.workers.process import WorkerCrash, run_in_worker

JOB = "convbench.sweeps.survey_job:run"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one case takes, as far as shapes tell.

    record: its identity, params and cost, counted on the meta device, and ``peak_bytes`` by storage lifetimes.
    call_s: of one call, from the machine's peaks, to an order of magnitude; wall_s: of measuring the case. None where
    the peaks of its device are not known.
    """

    task: Task
    record: Record
    call_s: float | None
    wall_s: float | None


def require_valid(study: Study, tasks: Sequence[Task], *, devices_here: bool) -> None:
    """Raise a UsageError naming the place, the value and the rule, for a target, an option or a device that no case
    can do with. What a target says to its values when it is built is left to the records.

    devices_here: whether the devices must be on this machine.
    """
    with Measurer() as measurer:
        for task in filter(_may_be_wrong, tasks):
            try:
                measurer.look_over([task.case], LOOK_LIMIT_S, devices_here=devices_here, builds=False)
            except UsageError as error:
                raise type(error)(f"{_place(study.places[task.key], type(error), str(error))}: {error}") from error


def _may_be_wrong(task: Task) -> bool:
    """Whether anything about the case can only be told once torch and the target are imported."""
    case = task.case
    known = case.target.lower() in entries() and not case.options and case.device in ("cpu", "meta")
    return not known or case.pretrained or bool(case.transforms) or case.weights is not None


def estimate(tasks: Sequence[Task]) -> list[Estimate]:
    """What each task takes; one that cannot be counted carries the reason in its record's ``status`` and ``error``.

    Raises MeasurementError when a target ends the process.
    """
    request = {"do": JOB, "tasks": [task.to_json() for task in tasks]}
    messages: list[Mapping[str, Any]] = []
    try:
        run_in_worker(request, on_message=messages.append)
    except WorkerCrash as error:
        culprit = tasks[len(messages)].case.label
        raise MeasurementError(f"{culprit}: nothing can be estimated, because {error}") from error
    return [
        Estimate(task, Record.from_row(message["record"]), message["call_s"], message["wall_s"])
        for task, message in zip(tasks, messages, strict=True)
    ]


def _place(places: Places, kind: type[UsageError], message: str) -> str:
    """Where the value that the message is about was given."""
    if issubclass(kind, DeviceError):
        return places.device
    if issubclass(kind, OptionError):
        named = next((place for name, place in places.options.items() if f"{name!r}" in message), None)
        return named or next((place for name, place in places.options.items() if name in message), places.target)
    return places.target
