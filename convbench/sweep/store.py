"""Where a sweep keeps what it measured: JSON lines, appended one by one, each safe on disk before the next case begins.

A line is one of

    {"environment": DIGEST, "values": {…}}                                                           a machine
    {"key": KEY, "record": {…}, "task": {…}, "environment": DIGEST, "during": {…}, "wall_s": 12.3}   a measured case

KEY identifies the case and what was asked of it (`Task.key`), so that the same case is not measured twice; where it
was measured again on request, the last line counts. A line that a killed run left torn is cut off when the store is
opened; its case counts as not measured. Only one process at a time has a store open for writing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from convbench.errors import OutputError, UsageError
from convbench.records import Record

_OPENING = b'{"'  # of every line


@dataclass(frozen=True, slots=True)
class Entry:
    """One measured case.

    task: as `Task.to_json` describes it. environment: digest of the environment it was measured in.
    during: state of the machine before and after, and the source of the target. wall_s: seconds that it took.
    """

    key: str
    record: Record
    task: Mapping[str, Any]
    environment: str | None = None
    during: Mapping[str, Any] | None = None
    wall_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The line of this entry."""
        return {
            "key": self.key,
            "record": {name: value for name, value in self.record.to_row().items() if value is not None},
            "task": dict(self.task),
            "environment": self.environment,
            "during": self.during,
            "wall_s": self.wall_s,
        }


@dataclass(slots=True)
class Contents:
    """What a store holds: entries by key in the order of their first appearance, environments by digest.

    unreadable: numbers of the lines, from 1, that hold neither.
    """

    entries: dict[str, Entry]
    environments: dict[str, Mapping[str, Any]]
    unreadable: list[int]


def read_store(path: Path) -> Contents:
    """Read a store without opening it for writing; a torn last line is passed over. Raises UsageError."""
    try:
        return _parse(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


class Store:
    """A store opened for appending. A context manager; leaving it lets others open it.

    repaired: whether a torn last line was cut off on opening. contents: what is in the file, kept up to date.
    Raises OutputError when the file cannot be written, is no store, or is open elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired = False
        self.contents = Contents({}, {}, [])
        self._descriptor = -1
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def __enter__(self) -> Store:
        if not self.path.parent.is_dir():  # the lock would make it
            raise OutputError(f"{self.path} cannot be written: the directory {self.path.parent} does not exist")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"{self.path}: another sweep is writing to it; wait for it, or name another store"
            ) from error
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.release()

    def __contains__(self, key: str) -> bool:
        return key in self.contents.entries

    def append(
        self,
        key: str,
        record: Record,
        task: Mapping[str, Any],
        environment: Mapping[str, Any] | None,
        wall_s: float,
        during: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Add one measured case; it is on disk when this returns. Raises OutputError when it could not be written."""
        entry = Entry(key, record, task, self._keep_environment(environment), during, round(wall_s, 3))
        self._write(entry.to_json())
        self.contents.entries[key] = entry
        return entry

    def _keep_environment(self, values: Mapping[str, Any] | None) -> str | None:
        if not values:
            return None
        digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]
        if digest not in self.contents.environments:
            self._write({"environment": digest, "values": values})
            self.contents.environments[digest] = values
        return digest

    def _open(self) -> None:
        try:
            existed = self.path.exists()
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            data = self.path.read_bytes()
            self.contents = _parse(data)
            self._require_store(data)
            self._repair(data)
            if not existed:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _require_store(self, data: bytes) -> None:
        """Refuse to touch a file of another kind."""
        if self.contents.entries or self.contents.environments or not data:
            return
        if self.contents.unreadable or not data.startswith(_OPENING[: len(data)]):
            raise OutputError(f"{self.path} holds something else than a sweep's records: name another store")

    def _repair(self, data: bytes) -> None:
        """End the file with a whole line."""
        if not data or data.endswith(b"\n"):
            return
        tail = data[data.rfind(b"\n") + 1 :]
        if _read_line(tail) is not None:
            os.write(self._descriptor, b"\n")
        else:
            os.truncate(self._descriptor, len(data) - len(tail))
        os.fsync(self._descriptor)
        self.repaired = True

    def _write(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode()
        end = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._descriptor, end)
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error


def _parse(data: bytes) -> Contents:
    contents = Contents({}, {}, [])
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _read_line(line)
        if row is None:
            if number < len(lines):  # the last one has no line end: torn
                contents.unreadable.append(number)
        elif "key" in row:
            contents.entries[row["key"]] = _entry(row)
        else:
            contents.environments[row["environment"]] = row["values"]
    return contents


def _read_line(line: bytes) -> dict[str, Any] | None:
    """The line as a mapping, or None for anything that no store writes."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    is_entry = isinstance(row.get("key"), str) and isinstance(row.get("record"), dict) and "target" in row["record"]
    is_environment = isinstance(row.get("environment"), str) and isinstance(row.get("values"), dict)
    return row if is_entry or is_environment else None


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        row["key"],
        Record.from_row(row["record"]),
        row.get("task", {}),
        row.get("environment"),
        row.get("during"),
        row.get("wall_s"),
    )


def _sync_folder(folder: Path) -> None:
    """Make the file's name as safe as its lines; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
