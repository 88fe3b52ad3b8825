"""Saved reports read back: .csv, .json, .parquet and a sweep's .jsonl into records, .npz into receptive fields.

Imports no torch.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convbench.errors import MissingExtraError, UsageError, nearest
from convbench.records import COLUMNS, Record
from convbench.report.columns import column_types
from convbench.report.environments import same_environment
from convbench.report.io.document import Report

_OWN_KEYS = {"environment", "environments", "environment_of", "records", "command", "commands"}


def load(path: Path) -> Report:
    """The report that ``path`` holds. Raises UsageError that names the file, the place in it and the rule."""
    loader = _LOADERS.get(path.suffix.lower())
    if loader is None:
        raise UsageError(
            f"{path}: saved records are read from {', '.join(_LOADERS)}, not from {path.suffix!r}."
            f"{nearest(path.suffix, _LOADERS)}"
        )
    try:
        return loader(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from error


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


def _load_csv(path: Path) -> Report:
    text = path.read_bytes().decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = rows.fieldnames or []
        _require_columns(path, header)
        records = [_record(path, f"line {rows.line_num}", row, _from_text) for row in rows]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV: {error}") from error
    return Report(records, origin=path.name)


def _load_json(path: Path) -> Report:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    return _from_content(path, content)


def _from_content(path: Path, content: Any) -> Report:
    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        hint = (
            ": receptive fields are read from their .npz file"
            if isinstance(content, dict) and "fields" in content
            else ""
        )
        raise UsageError(f'{path}: a report is one object with "environment" and "records", which this is not{hint}')
    rows = content["records"]
    if rows:
        _require_columns(path, [key for row in rows if isinstance(row, dict) for key in row])
    records = [_record(path, f"record {index}", row, _from_plain) for index, row in enumerate(rows, 1)]
    if "environments" in content:
        return _separated(path, content, records)
    return Report(
        records,
        _environment(path, content.get("environment")),
        {key: value for key, value in content.items() if key not in _OWN_KEYS and _is_table(value)},
        str(content.get("command", "")),
        origin=path.name,
    )


def _separated(path: Path, content: Mapping[str, Any], records: Sequence[Record]) -> Report:
    """A joined report, as the JSON exporter writes it."""
    environments, owners = content["environments"], content.get("environment_of")
    if not isinstance(owners, list) or len(owners) != len(records) or not set(owners) <= set(range(len(environments))):
        raise UsageError(f'{path}: "environment_of" must give, for each record, its place in "environments"')
    commands = content.get("commands") or [""] * len(environments)
    sources = tuple(
        Report(
            [record for record, owner in zip(records, owners, strict=True) if owner == index],
            _environment(path, environment),
            command=str(commands[index]),
            origin=path.name,
        )
        for index, environment in enumerate(environments)
    )
    return Report([record for part in sources for record in part.records], sources=sources, origin=path.name)


def _load_parquet(path: Path) -> Report:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", f"{path}: reading .parquet") from error

    from convbench.report.io.parquet import METADATA_KEY

    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path}: not Parquet: {error}") from error
    _require_columns(path, table.column_names)
    about = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return _from_content(path, {**about, "records": table.to_pylist()})


def _load_store(path: Path) -> Report:
    from convbench.report.io.stored import stored_report
    from convbench.sweep.store import read_store

    held = read_store(path)
    if held.unreadable:
        raise UsageError(f"{path}, line {held.unreadable[0]}: no line of a sweep's store")
    return stored_report(held.entries.values(), held.environments, origin=path.name)


def _load_npz(path: Path) -> Report:
    from convbench.report.io.fields import load_fields

    return Report([], fields=load_fields(path), origin=path.name)


def _require_columns(path: Path, names: Iterable[str]) -> None:
    if "target" not in set(names):
        raise UsageError(
            f"{path}: no column 'target', so these are no records of convbench (its columns: {COLUMNS[0]}, …)"
        )


def _environment(path: Path, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise UsageError(f'{path}: "environment" must be an object, got {type(value).__name__}')
    return value or {}


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _record(path: Path, place: str, row: Any, convert: Callable[[Any, type], Any]) -> Record:
    if not isinstance(row, Mapping) or None in row or (convert is _from_text and None in row.values()):
        raise UsageError(f"{path}, {place}: not as many cells as the header has columns")
    values: dict[str, Any] = {}
    for name in COLUMNS:
        if name in row:
            expected = column_types()[name]
            try:
                values[name] = convert(row[name], expected)
            except (TypeError, ValueError):
                word = {int: "a whole number", float: "a number", str: "text"}[expected]
                raise UsageError(f"{path}, {place}: {name} must be {word}, got {row[name]!r}") from None
    for name in ("target", "status", "schema_version"):
        if name in values and values[name] is None:
            raise UsageError(f"{path}, {place}: {name} is empty")
    return Record(**values)


def _from_text(value: str, expected: type) -> Any:
    if value == "":
        return None
    if expected is int and not value.lstrip("-").isdigit():
        return _whole(float(value))
    return expected(value)


def _from_plain(value: Any, expected: type) -> Any:
    if value is None or (isinstance(value, expected) and not isinstance(value, bool)):
        return value
    if expected is str or isinstance(value, bool | str):
        raise TypeError
    return _whole(value) if expected is int else float(value)


def _whole(value: float) -> int:
    """Tables that went through a float column hold ``23216.0``."""
    if not value.is_integer():
        raise ValueError
    return int(value)


_LOADERS: dict[str, Callable[[Path], Report]] = {
    ".csv": _load_csv,
    ".json": _load_json,
    ".parquet": _load_parquet,
    ".jsonl": _load_store,
    ".npz": _load_npz,
}
