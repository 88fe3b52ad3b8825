"""What comes from files, on its way in: bounded, decoded, typed. Every fault is one UsageError that names its place.

Files are written by strangers: nothing in them is run, and nothing of them is believed before it was looked at.
Imports no torch.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from convbench.errors import UsageError

T = TypeVar("T")

MAX_BYTES = 2**30
"""Of a file, and of what is packed in it."""
MAX_ROWS = 10**7
MAX_DEPTH = 40
_SHOWN, _LONGEST = 60, 300


def read_bytes(path: Path) -> bytes:
    """The contents of a regular file of at most `MAX_BYTES`; a pipe or a device would be waited on for ever.

    Raises UsageError.
    """
    try:
        require_regular(path, path.stat())
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name with a NUL byte in it
        raise UsageError(f"{shown(str(path))} cannot be read: {error}") from error


def require_regular(path: Path, status: os.stat_result) -> None:
    """Raise UsageError unless ``status``, of ``path``, is that of a file that can be read to its end."""
    if not stat.S_ISREG(status.st_mode):
        what = "directory" if stat.S_ISDIR(status.st_mode) else "pipe" if stat.S_ISFIFO(status.st_mode) else "device"
        raise UsageError(f"{path} is a {what}, not a file")
    if status.st_size > MAX_BYTES:
        raise UsageError(f"{path} has {status.st_size} bytes: at most {MAX_BYTES} are read")


def read_text(path: Path) -> str:
    """The contents of a text file in UTF-8, with or without a byte order mark. Raises UsageError."""
    data = read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path} is UTF-16 text: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from error


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text; ``place`` is where it stands, for messages.

    Takes what the standard takes: no NaN, no key twice, and at most `MAX_DEPTH` levels. Raises UsageError.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        where = f"{place}, line {error.lineno}" if error.lineno > 1 or "line" not in place else place
        raise UsageError(f"{where}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise UsageError(f"{place}: nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:  # ours, and a number of more digits than Python converts
        raise UsageError(f"{place}: not JSON: {error}") from error
    require_shallow(value, place)
    return value


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found


def require_shallow(value: Any, place: str) -> None:
    """Raise UsageError where mappings and lists hold one another in more than `MAX_DEPTH` levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        if not inner:
            return
        level = [item for items in inner for item in items]
    raise UsageError(f"{place}: nested more than {MAX_DEPTH} levels deep")


def typed(value: Any, kind: type[T], place: str) -> T:
    """``value``, plain mappings, lists and scalars, as a ``kind``. Raises UsageError that names the field."""
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$")
        name = field.rstrip("`").lstrip(".")
        said = f"{message[:1].lower()}{message[1:]}"[:_LONGEST]
        raise UsageError(f"{place}: {f'{name[:_LONGEST]}: ' if name else ''}{said}") from error
    except RecursionError as error:
        raise UsageError(f"{place}: nested more than {MAX_DEPTH} levels deep") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{place}: holds half a character, {shown(error.object)}, which no text can") from error


def writable(value: T) -> T:
    """A text with its halves of surrogate pairs, which no file can hold, as escapes; any other value as it is."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value  # type: ignore[return-value]


def shown(value: Any) -> str:
    """A value for a message: its repr, cut where it is long."""
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 256 else "a number of many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
