"""Files put in their place: whole or not at all, through links, with the mode and owner they had."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convbench.errors import OutputError

_UNMOVABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
_BINARY = getattr(os, "O_BINARY", 0)


def absolute(path: Path) -> Path:
    """``path`` from the folder in which it was typed, whatever folder the process is in later. Raises OutputError."""
    try:
        return Path(os.path.abspath(path))
    except OSError as error:
        raise OutputError(f"{path}: the current directory does not exist any more: give a whole path") from error


def shown(path: Path) -> str:
    """``path`` as a reader wants it: from the current folder where it is below that, else whole."""
    with suppress(OSError, ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def check_writable(path: Path) -> None:
    """Raise OutputError unless a file can be written at ``path``; an existing file is left as it is."""
    with _told(path):
        place, found = _place(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise OutputError(f"{shown(path)} is a directory: name a file in it")
        if not place.parent.is_dir():
            raise OutputError(f"{shown(path)}: the directory {shown(place.parent)} does not exist")
        if found is not None and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied")
        if found is None:
            temporary = _beside(place)
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            temporary.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of ``path`` in one step: whoever reads it finds the old or the new one, whole.

    A link is written through. The file keeps its mode, its owner and its other names; where that, a folder that cannot
    be written, or a device or pipe leaves no such step, it is written in place. A character that UTF-8 cannot hold
    (half of a broken file name in an error's text) is written as its escape.
    Raises OutputError, leaving the old file, when the disk is full or read-only or the folder is gone.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with _told(path):
        place, found = _place(path)
        if found is None:
            return _replace(place, None, data)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not _is_our_output(found):
            try:
                return _replace(place, found, data)
            except OSError as error:
                if error.errno not in _UNMOVABLE:
                    raise
        return _overwrite(path, found, data)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "nobody reads this pipe" if error.errno == errno.ENXIO else error.strerror or str(error)
        if not os.path.isdir(path.parent):
            reason = f"the directory {shown(path.parent)} does not exist any more"
        raise OutputError(f"{shown(path)} cannot be written: {reason}") from error
    except UnicodeError as error:
        raise OutputError(f"{str(path)!r} cannot be written: no file can have this name") from error
    except OutputError:
        raise
    except ValueError as error:  # a NUL byte
        raise OutputError(f"{str(path)!r} cannot be written: {error}") from error


def _place(path: Path) -> tuple[Path, os.stat_result | None]:
    """Where a link leads, and what is there."""
    place = Path(os.path.realpath(path))
    try:
        return place, os.stat(path)
    except FileNotFoundError:
        return place, None


def _beside(place: Path) -> Path:
    return place.with_name(f".{secrets.token_hex(8)}.tmp")


def _replace(place: Path, found: os.stat_result | None, data: bytes) -> None:
    temporary = _beside(place)
    mode = 0o666 if found is None else 0o600  # the umask takes its part of a new file's mode
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if found is not None:
            made = temporary.stat()
            if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
                os.chown(temporary, found.st_uid, found.st_gid)
            temporary.chmod(stat.S_IMODE(found.st_mode))
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _overwrite(path: Path, found: os.stat_result, data: bytes) -> None:
    """Write into what is there. Opening a pipe that nobody reads is an error, where it would wait for ever."""
    whole = stat.S_ISREG(found.st_mode) and not _is_our_output(found)
    how = os.O_TRUNC if whole else os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_WRONLY | _BINARY | how)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _is_our_output(found: os.stat_result) -> bool:
    """Whether it is open as stdout or stderr, as /dev/stdout is: what is printed would be lost with it."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return True
    return False
