"""stdout and stderr as they are given: closed, full, without a reader, or of an encoding that lacks our characters.

Whatever becomes of them, the command goes on and its files are written. A reader that left (``… | head``) asked for no
more and changes no exit code; other losses of stdout are said, and end a command that succeeded with 3.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
import warnings
from typing import Any

from convbench.text import one_line

_LEGIBLE = "convbench.legible"
_INSTEAD = {
    **dict(zip("×·−–—‑→←≥≤≈²³⁴…±√‘’“”━─│┃╭╮╰╯°⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "x.----><><~234.~v''\"\"--||++++o**********", strict=True)),
    "…": "...",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "√": "sqrt",
    "σ": "sigma",
    "Σ": "sum",
    "µ": "u",
}
_SIZES = {"COLUMNS": (20, 10_000), "LINES": (2, 1_000)}


class Channel(io.RawIOBase):
    """A descriptor to write to, which never fails: what it can no longer take is dropped, and ``lost`` says why."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        while self.lost is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # whoever shares the terminal made it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.lost = error
        return len(data)


class Plain(io.TextIOWrapper):
    """Text for an ASCII stream; Click writes UTF-8 to those whose bytes it can get at."""

    buffer: Any = None


def take_over() -> Channel:
    """Make stdout and stderr streams that take everything, and closed descriptors harmless; gives that of stdout."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would be taken for it
            os.open(os.devnull, os.O_RDWR)
    for name, (least, most) in _SIZES.items():
        given = os.environ.pop(name, "")
        if given.isascii() and given.isdigit() and len(given) < 10:
            os.environ[name] = str(min(max(int(given), least), most))
    warnings.formatwarning = lambda message, *_, **__: f"warning: {one_line(str(message))}\n"
    stdout, stderr = Channel(1), Channel(2)
    sys.stdout, sys.stderr = _text(stdout, sys.stdout), _text(stderr, sys.stderr)
    return stdout


def finish(stdout: Channel, code: int) -> int:
    """The exit code, once everything is flushed: 3 where a command succeeded and what it printed was lost."""
    sys.stdout.flush()
    if stdout.lost is not None and stdout.lost.errno != errno.EPIPE:
        print(f"error: the output cannot be written: {stdout.lost.strerror}", file=sys.stderr)
        code = code or 3
    sys.stderr.flush()
    return code


def _text(channel: Channel, given: Any) -> io.TextIOWrapper:
    encoding = getattr(given, "encoding", None) or "utf-8"
    kind = Plain if codecs.lookup(encoding).name == "ascii" else io.TextIOWrapper
    lines = channel.isatty() or channel.fileno() == 2
    return kind(io.BufferedWriter(channel), encoding=encoding, errors=_LEGIBLE, line_buffering=lines)


def _legible(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: something alike, else their escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    alike = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _INSTEAD.get(character) or alike or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(_LEGIBLE, _legible)
