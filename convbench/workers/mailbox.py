"""Lines from a pipe, read in a thread of their own into bounded memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import IO

_LONGEST_LINE = 64 * 2**20
_WAITING_BYTES = 16 * 2**20
_CHUNK = 1 << 16


class TooLong(ValueError):  # noqa: N818
    """A line is longer than any message."""


class Mailbox:
    """Holds lines until they are taken; who fills it waits while too many are there."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._too_long = False
        self._changed = threading.Condition()

    def fill_from(self, pipe: IO[bytes]) -> None:
        """Read ``pipe`` to its end, or until this is closed; an unfinished line at the end is dropped."""
        started = bytearray()
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *whole, rest = chunk.split(b"\n")
                for line in whole:
                    if not self._put(bytes(started) + line):
                        return
                    started.clear()
                started += rest
                if len(started) > _LONGEST_LINE:
                    self._too_long = True
                    break
        self.close()

    def take(self, timeout_s: float | None) -> bytes | None:
        """The next line; None when there will be no more. Raises TimeoutError, and TooLong."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._lines or self._closed, timeout_s):
                raise TimeoutError
            if self._lines:
                line = self._lines.popleft()
                self._bytes -= len(line)
                self._changed.notify_all()
                return line
            if self._too_long:
                raise TooLong(f"more than {_LONGEST_LINE >> 20} MiB in one message")
            return None

    def close(self) -> None:
        """Take nothing more in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, line: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= _WAITING_BYTES or self._closed)
            if self._closed:
                return False
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()
            return True
