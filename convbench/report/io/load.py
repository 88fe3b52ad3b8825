"""Saved reports read back: .csv, .json, .parquet and a sweep's .jsonl into records, .npz into receptive fields.

Imports no torch.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.errors import MissingExtraError, UsageError, nearest
from convbench.reading import MAX_BYTES, MAX_ROWS, parse_json, read_bytes, read_text, typed
from convbench.records import COLUMNS, Record
from convbench.report.environments import same_environment
from convbench.report.io.document import Report
from convbench.rows import record_from

if TYPE_CHECKING:
    from convbench.report.io.schema import Whole


def load(path: Path) -> Report:
    """The report that ``path`` holds. Raises UsageError that names the file, the place in it and the rule."""
    loader = _LOADERS.get(path.suffix.lower())
    if loader is None:
        raise UsageError(
            f"{path}: saved records are read from {', '.join(_LOADERS)}, not from {path.suffix!r}."
            f"{nearest(path.suffix, _LOADERS)}"
        )
    return loader(path)


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
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = rows.fieldnames or []
        _require_columns(path, header)
        records = [record_from(row, f"{path}, line {rows.line_num}", text=True) for row in rows]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV: {error}") from error
    return Report(records, origin=path.name)


def _load_json(path: Path) -> Report:
    return _from_content(path, parse_json(read_text(path), str(path)))


def _from_content(path: Path, content: Any) -> Report:
    from convbench.report.io.schema import Whole, environment_from, sections_from

    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        hint = (
            ": receptive fields are read from their .npz file"
            if isinstance(content, dict) and "fields" in content
            else ""
        )
        raise UsageError(f'{path}: a report is one object with "environment" and "records", which this is not{hint}')
    whole = typed(content, Whole, str(path))
    if whole.records:
        _require_columns(path, {key for row in whole.records if isinstance(row, dict) for key in row})
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
    from convbench.report.io.schema import environment_from

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


def _load_parquet(path: Path) -> Report:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", f"{path}: reading .parquet") from error

    from convbench.report.io.parquet import METADATA_KEY

    data = read_bytes(path)
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        _require_modest(path, file.metadata)
        table = file.read()
        rows, about = table.to_pylist(), (table.schema.metadata or {}).get(METADATA_KEY, b"{}").decode()
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:  # damage shows in many ways
        raise UsageError(f"{path}: not Parquet: {next(iter(str(error).splitlines()), type(error).__name__)}") from error
    _require_columns(path, table.column_names)
    content = parse_json(about, f"{path}, its metadata")
    return _from_content(path, {**typed(content, dict[str, Any], f"{path}, its metadata"), "records": rows})


def _require_modest(path: Path, about: Any) -> None:
    """A small file can unpack to more than there is memory: what it says of itself is looked at first."""
    size = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
    if size > MAX_BYTES or about.num_rows > MAX_ROWS:
        raise UsageError(f"{path} unpacks to {size} bytes in {about.num_rows} rows: at most {MAX_BYTES} are read")


def _load_store(path: Path) -> Report:
    from convbench.report.io.stored import stored_report
    from convbench.sweep.store import read_store

    held = read_store(path)
    report = stored_report(held.entries.values(), held.environments, origin=path.name)
    return dataclasses.replace(report, damage=held.damage)


def _load_npz(path: Path) -> Report:
    from convbench.report.io.fields import load_fields

    return Report([], fields=load_fields(path), origin=path.name)


def _require_columns(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    if "target" not in names:
        raise UsageError(
            f"{path}: no column 'target', so these are no records of convbench (its columns: {COLUMNS[0]}, …)"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: the column {twice!r} stands twice")


_LOADERS: dict[str, Callable[[Path], Report]] = {
    ".csv": _load_csv,
    ".json": _load_json,
    ".parquet": _load_parquet,
    ".jsonl": _load_store,
    ".npz": _load_npz,
}
