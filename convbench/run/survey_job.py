"""What a worker process does to look a study over: import every target, and count its cases on the meta device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from convbench.case import Case
from convbench.devices import require_device
from convbench.errors import UsageError
from convbench.records import Record
from convbench.run.measure import Plan, profile_case
from convbench.run.task import Task
from convbench.run.worker import Send
from convbench.subject import blueprint


def run(request: Mapping[str, Any], send: Send) -> None:
    """One message for each of ``request["tasks"]``, in their order.

    With ``request["estimate"]``: ``record``, ``call_s`` and ``wall_s``; else ``problem``, of which None is none.
    """
    for row in request["tasks"]:
        task = Task.from_json(row)
        send(_estimate(task) if request["estimate"] else {"problem": _problem(task.case, request["devices_here"])})


def _problem(case: Case, devices_here: bool) -> dict[str, str] | None:
    try:
        if devices_here:
            require_device(case.device)
        blueprint(case)
    except UsageError as error:
        return {"type": type(error).__name__, "message": str(error)}
    return None


def _estimate(task: Task) -> dict[str, Any]:
    """Counted with the weights left out: their values decide about nothing here."""
    case = dataclasses.replace(task.case, device="meta", weights=None, pretrained=False)
    try:
        record = profile_case(case, Plan(("params", "cost", "memory"))).record()
    except UsageError as error:
        record = Record(task.case.target, status="error", error=str(error))
    record = dataclasses.replace(record, device=task.case.device, device_name=None)
    return {"record": record.to_row(), "call_s": None, "wall_s": None}
