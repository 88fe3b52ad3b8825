"""JSON: one object with ``environment`` and ``records``; the command and break-downs are further keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convbench.errors import UsageError
from convbench.reading import parse_json, read_text, typed
from convbench.records import Record
from convbench.report.io.cells import finite, require_columns, rows_of
from convbench.report.io.document import Report
from convbench.report.io.schema import Whole, environment_from, sections_from
from convbench.rows import record_from


def to_json(report: Report) -> dict[str, str]:
    """The whole report as one JSON text.

    Where environments differ, ``environment`` is empty, ``environments`` holds each and ``environment_of`` says, record
    by record, which one measured it.
    """
    content: dict[str, Any] = {"environment": dict(report.environment)}
    if report.records or not report.sections:
        content["records"] = rows_of(report.records)
    if report.command:
        content["command"] = report.command
    if report.sources:
        content["environments"] = [dict(part.environment) for part in report.sources]
        content["commands"] = [part.command for part in report.sources]
        content["environment_of"] = [index for index, part in enumerate(report.sources) for _ in part.records]
    content |= report.sections
    return {"": json.dumps(_plain(content), indent=2, ensure_ascii=False, default=str) + "\n"}


def _plain(value: Any) -> Any:
    """Containers of finite numbers: JSON knows no others, whatever Python's writer lets through."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return finite(value)


def load_json(path: Path) -> Report:
    """The report in a JSON file. Raises UsageError."""
    return from_content(path, parse_json(read_text(path), str(path)))


def from_content(path: Path, content: Any) -> Report:
    """The report in a JSON value that was read from ``path``. Raises UsageError."""
    named = content if isinstance(content, dict) else {}
    if not isinstance(named.get("records"), list) and ("fields" in named or not sections_from(named, str(path))):
        hint = ": receptive fields are read from their .npz file" if "fields" in named else ""
        raise UsageError(f'{path}: a report is one object with "environment" and "records", which this is not{hint}')
    whole = typed(content, Whole, str(path))
    if whole.records:
        require_columns(path, {key for row in whole.records if isinstance(row, dict) for key in row})
    records = [record_from(row, f"{path}, record {index}") for index, row in enumerate(whole.records, 1)]
    if whole.environments is not None:
        return _separated(path, whole, records)
    return Report(
        records,
        environment_from(whole.environment, str(path)),
        sections_from(content, str(path)),
        whole.command or "",
        origin=path.name,
    )


def _separated(path: Path, whole: Whole, records: Sequence[Record]) -> Report:
    """A joined report, as the JSON exporter writes it."""
    environments, owners = whole.environments or [], whole.environment_of
    if len(owners) != len(records) or not set(owners) <= set(range(len(environments))):
        raise UsageError(f'{path}: "environment_of" must give, for each record, its place in "environments"')
    commands = whole.commands or [""] * len(environments)
    if len(commands) != len(environments):
        raise UsageError(f'{path}: "commands" must give one command for each of "environments"')
    sources = tuple(
        Report(
            [record for record, owner in zip(records, owners, strict=True) if owner == index],
            environment_from(environment, f"{path}, environments[{index}]"),
            command=commands[index],
            origin=path.name,
        )
        for index, environment in enumerate(environments)
    )
    return Report([record for part in sources for record in part.records], sources=sources, origin=path.name)
