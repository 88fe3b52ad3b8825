"""The unit of a sweep: one case, and what is to be measured of it. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from convbench.case import Case
from convbench.errors import UsageError
from convbench.measures.cost.settings import CostSettings
from convbench.measures.table import Plan, check_measures
from convbench.reading import typed

Fields = tuple[tuple[str, Any], ...]


class _Row(TypedDict):
    case: dict[str, Any]
    measures: list[str]
    strict: bool
    latency: dict[str, Any]
    source: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A case under a plan. Tasks with equal keys are the same work, which a sweep does once.

    latency: fields of `LatencySettings` other than its defaults, in no particular order.
    source: SHA-256 of the user's file that holds the target, so that an edited block is another task; None for others.
    """

    case: Case
    measures: tuple[str, ...]
    strict: bool = False
    latency: Fields = ()
    source: str | None = None

    @property
    def key(self) -> str:
        """A short digest of everything that decides about the record, the same on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain JSON values from which `from_json` restores an equal task."""
        return {
            "case": self.case.to_json(),
            "measures": list(self.measures),
            "strict": self.strict,
            "latency": dict(sorted(self.latency)),
            "source": self.source,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Task:
        """The task that `to_json` described. Raises UsageError that names the field that is not as it must be."""
        said = typed(row, _Row, "task")
        return cls(
            Case.from_json(said["case"]),
            check_measures(said["measures"], "cpu") if said["measures"] else (),
            strict=said["strict"],
            latency=tuple(said["latency"].items()),
            source=said["source"],
        )

    def plan(self) -> Plan:
        """What carries the task out, by the defaults of ``convbench profile``; the case has its limit as a whole."""
        settings: dict[str, Any] = {"cost": CostSettings(self.strict)}
        if "latency" in self.measures:
            from convbench.measures.latency.settings import LatencySettings

            settings["latency"] = LatencySettings(**dict(self.latency))
        return Plan(self.measures, settings, timeout_s=None)


def make_task(case: Case, measures: tuple[str, ...], strict: bool = False, latency: Fields = ()) -> Task:
    """A task whose identity holds nothing that cannot change its record.

    Raises UsageError for option values that cannot be written down, and where the target's file cannot be read.
    """
    task = Task(
        case,
        measures,
        strict=strict,
        latency=tuple(sorted(latency)) if "latency" in measures else (),
        source=_source_digest(case.target),
    )
    try:
        json.dumps(task.to_json(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{case.target}: an option's value cannot be written as JSON: {error}") from error
    return task


def _source_digest(target: str) -> str | None:
    path, _, _ = target.rpartition(":")
    if not path.endswith(".py"):
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{target}: {path} cannot be read: {error.strerror}") from error
