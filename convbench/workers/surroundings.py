"""What of a process a job may change that the next job would stumble over: put back between two requests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO, cast


class Surroundings:
    """Directory, environment, standard streams, signals, timers and limits as they were when this was made."""

    def __init__(self) -> None:
        self._directory = _directory()
        self._environment = dict(os.environ)
        self._streams = [os.dup(descriptor) for descriptor in range(3)]
        self._recursion = sys.getrecursionlimit()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def put_back(self) -> None:
        """Undo what was changed."""
        self._quieten()
        if self._directory is not None:
            with suppress(OSError):
                os.chdir(self._directory)
        if dict(os.environ) != self._environment:
            for name in set(os.environ) - set(self._environment):
                del os.environ[name]
            os.environ.update(self._environment)
        for descriptor, kept in enumerate(self._streams):
            with suppress(OSError):
                os.dup2(kept, descriptor)
        sys.stdin = _stream(sys.__stdin__, 0, "r")
        sys.stdout = _stream(sys.__stdout__, 1, "w")
        sys.stderr = _stream(sys.__stderr__, 2, "w")
        sys.setrecursionlimit(self._recursion)
        os.umask(self._mask)
        gc.enable()

    def _quieten(self) -> None:
        """No timer goes off and no handler, trace or profile function of the last job's is called any more."""
        if hasattr(signal, "setitimer"):
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                with suppress(OSError, ValueError):
                    signal.signal(number, handler)
        sys.settrace(None)
        sys.setprofile(None)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _stream(first: TextIO | None, descriptor: int, mode: str) -> TextIO:
    """The stream that the interpreter made, or another where the job closed it."""
    if first is not None and not first.closed:
        return first
    return cast("TextIO", open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False))
