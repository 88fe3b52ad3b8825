"""What a worker process does for a sweep: measure tasks one after the other, each failure a record.

Imported in workers alone, so that everything that takes its time is imported before the first case's clock runs.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn  # noqa: TID253

from convbench.case import Case
from convbench.environment import environment, moment
from convbench.errors import UsageError
from convbench.measures.carry_out import profile_case
from convbench.measures.outcome import Outcome
from convbench.records import Record
from convbench.source import Source, source_of
from convbench.sweep.task import Task
from convbench.target.blueprint import Subject, blueprint
from convbench.workers.worker import Send

# Of the environment record, what differs from case to case.
_PASSING = ("start", "end", "steal_share", "sources")


def run(request: Mapping[str, Any], send: Send) -> None:
    """Measure ``request["tasks"]``. Messages: ``environment``, then ``started``, ``identity``, ``record`` of each task.

    A task is announced before its code is imported, so that a crash can be told to whom it belongs.
    """
    send({"environment": {name: value for name, value in environment().to_json().items() if name not in _PASSING}})
    sources: dict[str, Source] = {}
    for row in request["tasks"]:
        task = Task.from_json(row)
        send({"started": task.key})
        begun, before = time.perf_counter(), moment()
        send({"identity": _row(_identity(task.case))})
        record = measure_task(task, sources)
        source = sources.get(task.case.target)
        during = {
            "start": dataclasses.asdict(before),
            "end": dataclasses.asdict(moment()),
            "source": None if source is None else dataclasses.asdict(source),
        }
        send({"record": _row(record), "during": during, "wall_s": time.perf_counter() - begun})
        gc.collect()


def measure_task(task: Task, sources: dict[str, Source] | None = None) -> Record:
    """The record that ``convbench profile`` would give; a case that cannot be built is one with ``status=error``.

    sources: filled with the source of the target, where it is not known yet.
    """
    try:
        outcome = profile_case(task.case, task.plan())
    except UsageError as error:
        return dataclasses.replace(_identity(task.case), status="error", error=str(error))
    if sources is not None and outcome.subject is not None and task.case.target not in sources:
        sources[task.case.target] = source_of(outcome.subject.module)
    return outcome.record()


def _identity(case: Case) -> Record:
    """The columns that say which case it is, as far as can be known without building it."""
    outcome = Outcome(case)
    with _passing_over_failures():
        plan = blueprint(case)
        outcome.subject = Subject(case, plan.name, plan.kind, plan.options, nn.Identity(), plan.args("meta"))
    return outcome.record()


@contextmanager
def _passing_over_failures() -> Iterator[None]:
    """Whatever goes wrong here goes wrong again, and is recorded, when the case is measured."""
    try:
        yield
    except Exception:
        return


def _row(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.to_row().items() if value is not None}
