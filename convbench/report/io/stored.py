"""A sweep's entries as a report: records in their order, with the environments they were measured in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convbench.report.io.document import Report
from convbench.report.io.load import join
from convbench.report.io.schema import environment_from
from convbench.sweeps.store import Entry, read_store


def stored_report(
    entries: Iterable[Entry], environments: Mapping[str, Mapping[str, Any]], command: str = "", origin: str = ""
) -> Report:
    """The report of ``entries``. environments: by the digest that entries name. origin: the file they come from."""
    entries = list(entries)
    by_environment: dict[str | None, list[Entry]] = {}
    for entry in entries:
        by_environment.setdefault(entry.environment, []).append(entry)
    if not by_environment:
        return Report([], command=command, origin=origin)
    whole = join(
        [
            Report(
                [entry.record for entry in measured],
                _environment(digest, environments.get(digest or "", {}), measured),
                command=command,
                origin=origin,
            )
            for digest, measured in by_environment.items()
        ]
    )
    return whole if whole.sources else dataclasses.replace(whole, records=[entry.record for entry in entries])


def _environment(digest: str | None, values: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """The environment record of cases that were measured in one environment, at different times."""
    environment_from(values, f"environment {digest}")
    during = [entry.during for entry in entries if entry.during]
    if not values or not during:
        return dict(values)
    return {
        **values,
        "start": min((part["start"] for part in during), key=lambda moment: str(moment["utc"])),
        "end": max((part["end"] for part in during), key=lambda moment: str(moment["utc"])),
        "sources": {entry.record.target: entry.during.get("source") for entry in entries if entry.during},
    }


def load_store(path: Path) -> Report:
    """The report in a sweep's store. Raises UsageError."""
    held = read_store(path)
    report = stored_report(held.entries.values(), held.environments, origin=path.name)
    return dataclasses.replace(report, damage=held.damage)
