"""Rows of files as records, each value looked at: its kind, its range, and whether this version knows its schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from convbench.errors import UsageError, nearest
from convbench.reading import parse_json, shown, writable
from convbench.records import COLUMNS, SCHEMA_VERSION, STATUSES, Record, column_types

_MOST = {int: 2**63 - 1, float: math.inf, str: 2**20}
_WORDS = {int: "a whole number", float: "a number", str: "text"}


class NewerSchemaError(UsageError):
    """Records of a later version of convbench: nothing about them is damaged."""


def record_from(row: Any, place: str, *, text: bool = False) -> Record:
    """The record in a row of a file. Columns that no schema of this version has are passed over.

    text: whether the cells are text, as in CSV, where an empty one means not measured.
    Raises UsageError for a field of the wrong kind or out of range, and for a schema that is newer than this version.
    """
    if not isinstance(row, Mapping) or None in row or (text and None in row.values()):
        raise UsageError(f"{place}: not as many cells as the header has columns")
    _require_known_schema(row.get("schema_version"), place)
    values = {name: _cell(row[name], name, kind, place, text) for name, kind in column_types().items() if name in row}
    for name in ("target", "status", "schema_version"):
        if values.get(name, name) is None:
            raise UsageError(f"{place}: {name} is empty")
    if "target" not in values:
        raise UsageError(f"{place}: it names no target, so it is no record (its columns: {COLUMNS[0]}, …)")
    if values.get("status", "ok") not in STATUSES:
        hint = nearest(values["status"], STATUSES)
        raise UsageError(f"{place}: status {shown(values['status'])} is not one of {', '.join(STATUSES)}.{hint}")
    return Record(**values)


def options_of(text: str | None) -> dict[str, Any]:
    """The options that a record states in JSON; as one option, ``options``, where it states them in another way."""
    try:
        options = parse_json(text or "{}", "options")
    except UsageError:
        options = None
    return options if isinstance(options, dict) else {"options": text}


def _require_known_schema(version: Any, place: str) -> None:
    """Told before anything else, since what a newer schema holds is not this version's to judge."""
    if isinstance(version, str) and re.fullmatch(r"[0-9]{1,9}", version):
        version = int(version)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{place}: schema {version} is newer than this version of convbench knows, which is {SCHEMA_VERSION}: "
            "update convbench"
        )


def _cell(value: Any, name: str, kind: type, place: str, text: bool) -> Any:
    """One value, checked. Raises UsageError."""
    if value is None or (text and value == ""):
        return None
    try:
        found = _from_text(value, kind) if text else _from_plain(value, kind)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{place}: {name} must be {_WORDS[kind]}, got {shown(value)}") from None
    if isinstance(found, str):
        if len(found) > _MOST[str]:
            raise UsageError(f"{place}: {name} has {len(found)} characters: at most {_MOST[str]} are read")
        return writable(found)
    least = 1 if name in ("schema_version", "threads") else 0
    if not least <= found <= _MOST[kind] or found == math.inf:  # nan is not either
        raise UsageError(f"{place}: {name} must be {_WORDS[kind]} of at least {least}, got {shown(value)}")
    return found


def _from_text(value: str, kind: type) -> Any:
    if kind is str:
        return value
    if kind is int and not value.lstrip("-").isdigit():
        return _whole(float(value))
    return kind(value)


def _from_plain(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) != (kind is str)):
        raise TypeError
    if not isinstance(value, int | float | str):
        raise TypeError
    if kind is int:
        return value if isinstance(value, int) else _whole(float(value))
    return kind(value)


def _whole(value: float) -> int:
    """Tables that went through a float column hold ``23216.0``."""
    if not value.is_integer():
        raise ValueError
    return int(value)
