"""Where a sweep keeps what it measured: JSON lines, appended one by one, each safe on disk before the next case begins.

A line is one of

    {"environment": DIGEST, "values": {…}}                                                           a machine
    {"key": KEY, "record": {…}, "task": {…}, "environment": DIGEST, "during": {…}, "wall_s": 12.3}   a measured case

KEY identifies the case and what was asked of it (`Task.key`), so that the same case is not measured twice; where it
was measured again on request, the last line counts. A line that a killed run left torn is cut off when the store is
opened; its case counts as not measured. A line that is damaged in another way is moved to FILE.damaged then, and its
case measured again. Only one process at a time has a store open for writing, by whichever link it got there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict

from filelock import FileLock, Timeout

from convbench.errors import OutputError, UsageError
from convbench.reading import parse_json, read_bytes, require_regular, typed
from convbench.records import Record
from convbench.rows import NewerSchemaError, record_from

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
            "record": {name: value for name, value in self.record.to_row().items() if _says_something(value)},
            "task": dict(self.task),
            "environment": self.environment,
            "during": self.during,
            "wall_s": self.wall_s,
        }


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))  # JSON knows no NaN


class _Moment(TypedDict):
    utc: str


class _During(TypedDict):
    start: _Moment
    end: _Moment
    source: NotRequired[dict[str, Any] | None]


class _EntryLine(TypedDict):
    key: str
    record: dict[str, Any]
    task: NotRequired[dict[str, Any]]
    environment: NotRequired[str | None]
    during: NotRequired[dict[str, Any] | None]
    wall_s: NotRequired[float | None]


class _EnvironmentLine(TypedDict):
    environment: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: entries by key in the order of their first appearance, environments by digest.

    unreadable: the lines that hold neither, by their numbers from 1; damage: what is wrong with each.
    """

    entries: dict[str, Entry]
    environments: dict[str, Mapping[str, Any]]
    unreadable: dict[int, bytes]
    damage: tuple[str, ...] = ()


def read_store(path: Path) -> Contents:
    """Read a store without opening it for writing; a torn last line is passed over.

    Raises UsageError for what is no store, and for lines of a later version.
    """
    data = read_bytes(path)
    contents = _parse(data, path)
    if contents.damage and not (contents.entries or contents.environments):
        raise UsageError(contents.damage[0])
    return contents


class Store:
    """A store opened for appending. A context manager; leaving it lets others open it.

    repaired: whether a torn last line was cut off on opening. contents: what is in the file, kept up to date.
    Raises OutputError when the file cannot be written, is no store, or is open elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired = False
        self.contents = Contents({}, {}, {})
        self._descriptor = -1
        self._place = Path(os.path.realpath(path))  # links to one file share one lock
        self._lock = FileLock(self._place.with_name(f".{self._place.name}.lock"))

    def __enter__(self) -> Store:
        if not self._place.parent.is_dir():  # the lock would make it
            raise OutputError(f"{self.path} cannot be written: the directory {self._place.parent} does not exist")
        try:
            if self._place.exists():
                require_regular(self.path, self._place.stat())
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
            existed = self._place.exists()
            self._descriptor = self._opened()
            data = read_bytes(self._place)
            self.contents = _parse(data, self.path)
            self._require_store(data)
            self._repair(data)
            if not existed:
                _sync_folder(self._place.parent)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _opened(self) -> int:
        return os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def _require_store(self, data: bytes) -> None:
        """Refuse to touch a file of another kind."""
        if self.contents.entries or self.contents.environments or not data:
            return
        if self.contents.unreadable or not data.startswith(_OPENING[: len(data)]):
            raise OutputError(f"{self.path} holds something else than a sweep's records: name another store")

    def _repair(self, data: bytes) -> None:
        """End the file with a whole line, and move what is damaged out of it."""
        if self.contents.unreadable:
            self._set_aside(data)
        if not data or data.endswith(b"\n"):
            return
        tail = data[data.rfind(b"\n") + 1 :]
        if isinstance(_read_line(tail, ""), str):
            os.truncate(self._descriptor, os.fstat(self._descriptor).st_size - len(tail))
        else:
            os.write(self._descriptor, b"\n")
        os.fsync(self._descriptor)
        self.repaired = True

    def _set_aside(self, data: bytes) -> None:
        """Damaged lines go to a file of their own before the store is replaced by one without them."""
        damaged = self.contents.unreadable
        aside = self._place.with_name(f"{self._place.name}.damaged")
        _write_safely(aside, b"".join(line + b"\n" for line in damaged.values()), os.O_APPEND)
        kept = [line for number, line in enumerate(data.split(b"\n"), start=1) if number not in damaged]
        whole = self._place.with_name(f".{self._place.name}.{os.getpid()}.tmp")
        _write_safely(whole, b"\n".join(kept), os.O_TRUNC, self._place.stat().st_mode & 0o777)
        whole.replace(self._place)
        _sync_folder(self._place.parent)
        os.close(self._descriptor)
        self._descriptor = self._opened()
        told = tuple(
            f"{text}; it is kept in {aside.name}, and its case counts as not measured" for text in self.contents.damage
        )
        self.contents = replace(self.contents, damage=told)

    def _write(self, line: Mapping[str, Any]) -> None:
        # Half of a pair of surrogates is no UTF-8; its escape is, and JSON reads it back.
        data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode(errors="backslashreplace")
        end = os.fstat(self._descriptor).st_size
        try:
            _write_whole(self._descriptor, data)
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._descriptor, end)
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error


def _parse(data: bytes, path: Path) -> Contents:
    """Raises NewerSchemaError: a store of a later version is not damaged, and must not be repaired."""
    contents = Contents({}, {}, {})
    damage: list[str] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _read_line(line, f"{path}, line {number}")
        if isinstance(found, Entry):
            contents.entries[found.key] = found
        elif isinstance(found, tuple):
            contents.environments[found[0]] = found[1]
        elif number < len(lines):  # the last one has no line end: torn
            contents.unreadable[number] = line
            damage.append(found)
    return replace(contents, damage=tuple(damage))


def _read_line(line: bytes, place: str) -> Entry | tuple[str, Mapping[str, Any]] | str:
    """The entry, or the digest and the values of an environment; for anything that no store writes, what is wrong."""
    try:
        row = parse_json(line.decode(), place)
        if isinstance(row, dict) and "key" in row:
            values = typed(row, _EntryLine, place)
            if values.get("during") is not None:
                typed(values["during"], _During, f"{place}, during")
            return Entry(
                values["key"],
                record_from(values["record"], place),
                values.get("task", {}),
                values.get("environment"),
                values.get("during"),
                values.get("wall_s"),
            )
        environment = typed(row, _EnvironmentLine, place)
        return environment["environment"], environment["values"]
    except NewerSchemaError:
        raise
    except UnicodeDecodeError as error:
        return f"{place}: not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
    except UsageError as error:
        return str(error)


def _write_safely(path: Path, data: bytes, how: int, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, mode)
    try:
        _write_whole(descriptor, data)
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    """All of ``data``, safe on disk when this returns."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the file's name as safe as its lines; not every file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
