"""Records as files: one exporter a format, chosen by the suffix. Numbers are written as they are, never formatted."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convbench.errors import OutputError, nearest
from convbench.records import COLUMNS, Record

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds: records, where they were measured, and break-downs by name (``modules``, ``operators``)."""

    records: Sequence[Record]
    environment: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    command: str = ""


def check_outputs(paths: Iterable[Path]) -> None:
    """Raise OutputError, before anything is measured, for a path that could not be written afterwards."""
    for path in paths:
        if path.suffix.lower() not in EXPORTERS:
            raise OutputError(
                f"{path}: no format has the suffix {path.suffix!r}.{nearest(path.suffix, EXPORTERS)} "
                f"Accepted: {', '.join(EXPORTERS)}"
            )
        check_writable(path)


def check_writable(path: Path) -> None:
    """Raise OutputError unless a file can be created at ``path``; an existing file is left as it is."""
    if path.is_dir():
        raise OutputError(f"{path} is a directory: name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the directory {path.parent} does not exist")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied")


def write(path: Path, report: Report) -> list[Path]:
    """Write ``report`` in the format of ``path``'s suffix; each file appears whole or not at all.

    Returns the files written: a CSV file holds one table, so break-downs get files of their own beside it.
    Raises OutputError.
    """
    return EXPORTERS[path.suffix.lower()](path, report)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step. Raises OutputError, leaving the old file, when the disk is full or read-only."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def filled_columns(records: Sequence[Record]) -> list[str]:
    """The columns that at least one record fills, in schema order."""
    return [name for name in COLUMNS if any(getattr(record, name) is not None for record in records)]


def _csv(path: Path, report: Report) -> list[Path]:
    write_atomically(path, _csv_text(COLUMNS, [record.to_row() for record in report.records]))
    written = [path]
    for name, rows in report.sections.items():
        beside = path.with_suffix(f".{name}{path.suffix}")
        write_atomically(beside, _csv_text(_keys(rows), rows))
        written.append(beside)
    return written


def _csv_text(columns: Sequence[str], rows: Iterable[Row]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row.get(name)) for name in columns] for row in rows)
    return buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _json(path: Path, report: Report) -> list[Path]:
    content: dict[str, Any] = {
        "environment": dict(report.environment),
        "records": [record.to_row() for record in report.records],
    }
    if report.command:
        content["command"] = report.command
    content |= {name: list(rows) for name, rows in report.sections.items()}
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    return [path]


def _markdown(path: Path, report: Report) -> list[Path]:
    columns = filled_columns(report.records)
    parts = [_markdown_table(columns, [record.to_row() for record in report.records])]
    parts += [f"## {name}\n\n{_markdown_table(_keys(rows), rows)}" for name, rows in report.sections.items()]
    if report.command:
        parts.append(f"Made by `{report.command}`.\n")
    write_atomically(path, "\n".join(parts))
    return [path]


def _markdown_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = (str(_csv_cell(row.get(name))).replace("|", "\\|").replace("\n", " ") for name in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _keys(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


EXPORTERS: dict[str, Callable[[Path, Report], list[Path]]] = {".csv": _csv, ".json": _json, ".md": _markdown}
