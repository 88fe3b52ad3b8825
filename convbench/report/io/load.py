"""Saved reports read back, whichever format they have, and joined. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from convbench.errors import UsageError, nearest
from convbench.report.environments import same_environment
from convbench.report.io.document import Report
from convbench.report.io.formats import FORMATS, named, require_package


def load(path: Path) -> Report:
    """The report that ``path`` holds. Raises UsageError that names the file, the place in it and the rule."""
    row = FORMATS.get(path.suffix.lower())
    if row is None or not row.reader:
        known = [suffix for suffix, row in FORMATS.items() if row.reader]
        hint = nearest(path.suffix, known)
        raise UsageError(f"{path}: saved records are read from {', '.join(known)}, not from {path.suffix!r}.{hint}")
    require_package(path, "reading")
    report: Report = named(row.reader)(path)
    return report


def join(reports: Sequence[Report]) -> Report:
    """One report of them all, environments kept apart where they differ.

    A report whose environment is not known (a CSV file holds none) is like no other. Receptive fields do not depend on
    the machine, so they join any. Break-downs belong to one run: those of several are not joined.
    """
    fields = [field for report in reports for field in report.fields]
    parts: list[Report] = []
    for report in (part for whole in reports for part in whole.parts if part.records):
        index = next(
            (i for i, part in enumerate(parts) if same_environment(part.environment, report.environment)), None
        )
        if index is None:
            parts.append(report)
        else:
            parts[index] = _merged(parts[index], report)
    if len(parts) > 1:
        return Report([record for part in parts for record in part.records], fields=fields, sources=tuple(parts))
    return dataclasses.replace(parts[0] if parts else reports[0], fields=fields)


def _merged(first: Report, second: Report) -> Report:
    return Report(
        [*first.records, *second.records],
        first.environment,
        command=_lines(first.command, second.command),
        origin=_lines(first.origin, second.origin),
    )


def _lines(*texts: str) -> str:
    return "\n".join(dict.fromkeys(line for text in texts for line in text.splitlines()))
