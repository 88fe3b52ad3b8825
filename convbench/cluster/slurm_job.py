"""What a Slurm job does: measure one task in a worker process, and leave the record as a file. Imports no torch."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convbench.measures.carry_out import Measurer
from convbench.measures.outcome import Outcome
from convbench.notation import timestamp
from convbench.records import Record, record_of
from convbench.sweeps.events import Finished
from convbench.sweeps.local import measure_task
from convbench.sweeps.task import Task
from convbench.workers.device_lock import device_lock, physical_device
from convbench.workers.process import WorkerCrash

# Slurm sends these to every process of a job that it ends or preempts.
_FROM_SLURM = tuple(
    number
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGHUP", "SIGXCPU")
    if (number := getattr(signal, name, None)) is not None
)
_SIGNAL_GRACE_S = 30
_WARNED_EARLIER_S = 60  # than asked for, says sbatch's manual of --signal
_BEGUN = time.monotonic()
MOST_TIMES_LATE = 3


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """A callable that submitit carries to a node.

    folder: shared by the cluster; the record goes there. timeout_s: of the case. limit_s: from the beginning of the job
    to Slurm's warning that its time is over. late: how often that was too early.
    """

    task: Mapping[str, Any]
    folder: str
    timeout_s: float
    limit_s: float
    late: int = 0

    def __call__(self) -> None:
        """Measure, unless a job that was thought lost has done so."""
        task = Task.from_json(self.task)
        place = result_path(Path(self.folder), task.key)
        if place.exists():
            return
        measurer = Measurer(blameless=_FROM_SLURM, limit_s=self.timeout_s, describes=True)
        with device_lock(physical_device(task.case.device), lambda _: None), measurer:
            try:
                *_, finished = measure_task(measurer, task, node_name())
            except WorkerCrash:
                time.sleep(_SIGNAL_GRACE_S)  # this process was sent the signal as well, and requeues the job on it
                raise
        assert isinstance(finished, Finished)
        _write(place, finished)

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue when Slurm warns of the job's end: all of it.

        Nothing once the job was out of time too often; then that is the record. Being preempted does not count.
        """
        from submitit.helpers import DelayedSubmission

        late = self.late + (time.monotonic() - _BEGUN >= self.limit_s - _WARNED_EARLIER_S)
        if late < MOST_TIMES_LATE:
            return DelayedSubmission(replace(self, late=late))
        task = Task.from_json(self.task)
        reason = f"the job reached Slurm's time limit {late} times; give it more with --slurm time=MINUTES"
        record = replace(record_of(Outcome(task.case)), status="timeout", error=reason, created_at=timestamp())
        _write(result_path(Path(self.folder), task.key), Finished(task, record, None, late * self.limit_s))
        return None


def node_name() -> str:
    """The node's name in Slurm, or the host's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def result_path(folder: Path, key: str) -> Path:
    """The file in which a job leaves the record of the task called ``key``."""
    return folder / "results" / f"{key}.json"


def read_result(folder: Path, task: Task) -> Finished | None:
    """What a job left, or None."""
    try:
        row = json.loads(result_path(folder, task.key).read_bytes())
    except FileNotFoundError:
        return None
    return Finished(task, Record.from_row(row["record"]), row["environment"], row["wall_s"], row["during"])


def _write(place: Path, finished: Finished) -> None:
    """The file appears whole or not at all."""
    row = {
        "record": finished.record.to_row(),
        "environment": finished.environment,
        "during": finished.during,
        "wall_s": finished.wall_s,
    }
    temporary = place.with_name(f".{place.name}.{node_name()}.{os.getpid()}")
    temporary.write_text(json.dumps(row), encoding="utf-8")
    temporary.replace(place)
