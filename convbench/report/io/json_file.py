"""JSON: one object with ``environment`` and ``records``; the command and break-downs are further keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convbench.report.io.cells import finite, rows_of
from convbench.report.io.document import Report


def to_json(report: Report) -> dict[str, str]:
    """The whole report as one JSON text.

    Where environments differ, ``environment`` is empty, ``environments`` holds each and ``environment_of`` says, record
    by record, which one measured it.
    """
    content: dict[str, Any] = {"environment": dict(report.environment), "records": rows_of(report.records)}
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
