"""What workers print: passed on to stderr as text, in bounds, and the last of it kept for when one dies."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO

from convbench.workers.text import brief

_LONGEST_LINE = 500
_LINES_SHOWN = 200
_KEPT = 8
_CHUNK = 1 << 16
_TIME_AND_PROCESS = re.compile(r"^[DIVWEF]\d{4} [\d:.]+ \d+ ")  # with which each line of torch's log begins


class Said:
    """The standard error of one worker."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=_KEPT)

    @property
    def last(self) -> str:
        """The last few lines that were not empty."""
        return "\n".join(list(self._kept)[-2:])

    def fill_from(self, pipe: IO[bytes]) -> None:
        """Read ``pipe`` to its end."""
        started = b""
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                *whole, started = (started + chunk).split(b"\n")
                started = started[: 4 * _LONGEST_LINE]
                for line in whole:
                    self._hear(line)
        self._hear(started)

    def _hear(self, content: bytes) -> None:
        line = brief(content[: 4 * _LONGEST_LINE].decode(errors="replace"), lines=1, characters=_LONGEST_LINE)
        if line:
            self._kept.append(line)
            _shown.show(line)


class _Shown:
    """What has been passed on: five workers that say the same say it once, and a flood ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: set[str] = set()

    def show(self, line: str) -> None:
        key = _TIME_AND_PROCESS.sub("", line)
        with self._lock:
            if key in self._lines or len(self._lines) > _LINES_SHOWN:
                return
            self._lines.add(key)
            if len(self._lines) > _LINES_SHOWN:
                line = "the code under test prints on; no more of it is shown"
            with suppress(OSError, ValueError, AttributeError):  # stderr may be closed, full or absent
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


_shown = _Shown()
