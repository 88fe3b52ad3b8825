"""Jobs that start processes which would rather stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from convbench.workers.worker import Send

FOREVER_S = 600.0


def start(request: Mapping[str, Any], send: Send) -> NoReturn:
    """Start the family of ``request["how"]``, say so, and hang or die."""
    how, _, then = request["how"].partition(" and ")
    FAMILIES[how]()
    send({"started": how})
    if then:
        os._exit(1)
    time.sleep(FOREVER_S)
    raise AssertionError


def _sleep() -> NoReturn:
    time.sleep(FOREVER_S)
    os._exit(0)


def child() -> None:
    if os.fork() == 0:
        _sleep()


def session() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setpgid(0, 0)
        _sleep()


def daemon() -> None:
    """Forks twice: its parent is gone, and init is to have it."""
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 256)
            _sleep()
        os._exit(0)
    os.waitpid(between, 0)


def stopped() -> None:
    stopped = os.fork()
    if stopped == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        _sleep()
    os.waitpid(stopped, os.WUNTRACED)


def deaf() -> None:
    """Ignores whatever can be ignored, here and in a child."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    child()


def forking() -> None:
    """Hands itself on to a new process all the time."""
    if os.fork() == 0:
        os.setsid()
        end = time.monotonic() + FOREVER_S
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            time.sleep(0.002)
        os._exit(0)


def program() -> None:
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER_S})"], start_new_session=True)


FAMILIES = {function.__name__: function for function in (child, session, daemon, stopped, deaf, forking, program)}
