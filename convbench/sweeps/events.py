"""What runners tell a sweep while they carry out its tasks, and what a runner is. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from convbench.records import Record
from convbench.sweeps.task import Task


@dataclass(frozen=True, slots=True)
class Started:
    """A task is being measured; ``where``: the device or the node."""

    task: Task
    where: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A task has its record.

    environment: of the process that measured it, without what changes from case to case. during: that: the state of the
    machine before and after, and the target's source. wall_s: seconds that it took.
    """

    task: Task
    record: Record
    environment: Mapping[str, Any] | None
    wall_s: float
    during: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """Something worth a line: waiting for a device, jobs submitted, a job that vanished."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The runner is through; ``error``: what kept it from carrying out the rest."""

    error: BaseException | None = None


Event = Started | Finished | Said | Ended
Post = Callable[[Event], None]


class Runner(Protocol):
    """Carries out tasks elsewhere: in worker processes, or on a cluster."""

    def start(self, tasks: Sequence[Task], post: Post) -> None:
        """Begin, and return at once; ``post`` is called from other threads, at last with `Ended`."""

    def settled(self, task: Task) -> None:
        """The task's record is safe in the store."""

    def stop(self) -> None:
        """Stop as soon as can be; a runner whose work goes on without it lets it go on. May be called twice."""

    def parting_words(self) -> str:
        """What an interrupted user should know, or nothing."""
