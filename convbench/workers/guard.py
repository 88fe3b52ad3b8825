"""A process that sees to it that nothing of a worker's outlives it, or the command. POSIX; Linux does it best.

The process that the command starts forks: the child goes on as the worker, and the parent stays as its guard. It sleeps
until the worker has ended or the command is gone, ends all that descends from it, and passes on how the worker ended.
On Linux it is the reaper of its descendants: whoever loses its parent becomes the guard's child, whatever session it
moved to. A fork and not a program of its own: that costs a millisecond, and starting Python thirty to ninety.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

_ENDING_S = 5.0  # a process in the middle of a system call may take its time; one that is another user's never ends
_LOOKS_S = 0.02
_ENVIRONMENT_BYTES = 1 << 20
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

# What ends a process unless it says otherwise, and may come from a person or from Slurm.
_ASKED_TO_END = tuple(
    number
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM")
    if (number := getattr(signal, name, None)) is not None
)


def stand_guard(command: int) -> None:
    """Fork; the child returns, in a session of its own. ``command``: process id of the one that holds our stdin.

    The guard takes the hanging-up of stdin as the wish that all should end.
    """
    if os.getppid() != command:
        os._exit(1)
    commands_end = _end_of(command)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (*_ASKED_TO_END, signal.SIGCHLD):
        signal.signal(number, _only_wake)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    worker = os.fork()
    if worker:
        _watch(worker, commands_end, woken)
    signal.set_wakeup_fd(-1)
    for number in (*_ASKED_TO_END, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for descriptor in (woken, wake, commands_end):
        if descriptor is not None:
            os.close(descriptor)
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)


def _watch(worker: int, commands_end: int | None, woken: int) -> NoReturn:
    """Sleep until the worker ends or is to end, end all its descendants, and end as it did."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)  # the command must see these pipes close with the worker's
    poll = select.poll()
    poll.register(0, 0)  # hangs up when the command closes its end or dies
    for descriptor in (woken, commands_end):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
    codes: dict[int, int] = {}
    while worker not in codes:
        ready = {descriptor for descriptor, _ in poll.poll()}
        asked = [number for number in (os.read(woken, 4096) if woken in ready else b"") if number != signal.SIGCHLD]
        _bury(codes)
        if asked or ready - {woken}:
            codes.setdefault(worker, -(asked[0] if asked else signal.SIGKILL))
    code = codes[worker]
    _end_all(woken)
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler to set, and needs none
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _end_all(woken: int) -> None:
    """Kill until nothing descends from this process."""
    until = time.monotonic() + _ENDING_S
    while _bury({}) and time.monotonic() < until:
        for process in descendants(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if select.select([woken], [], [], _LOOKS_S)[0]:
            os.read(woken, 4096)


def _bury(codes: dict[int, int]) -> bool:
    """Reap who has died and note the exit codes, negative for a signal; whether any child is left."""
    try:
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            codes[dead[0]] = os.waitstatus_to_exitcode(dead[1])
    except ChildProcessError:
        return False
    return True


def descendants(ancestor: int) -> list[int]:
    """Ids of all processes that descend from ``ancestor``, the dead that nobody has reaped included."""
    if sys.platform != "linux":
        import psutil

        try:
            return [process.pid for process in psutil.Process(ancestor).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
    parents = dict(_parents())
    found, grew = {ancestor}, True
    while grew:
        more = {process for process, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(found - {ancestor})


def marked(mark: str) -> list[int]:
    """Ids of the processes that were started with ``mark`` in their environment, whoever is their parent now."""
    found = []
    for name in os.listdir("/proc") if sys.platform == "linux" else []:
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as environment:
                found += [int(name)] if mark.encode() in environment.read(_ENVIRONMENT_BYTES) else []
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb", buffering=0) as stat:
                yield int(name), int(stat.read(1024).rpartition(b")")[2].split()[1])


def _end_of(process: int) -> int | None:
    """A descriptor that becomes readable when ``process`` ends, where the kernel has such a thing."""
    with suppress(AttributeError, OSError):
        return os.pidfd_open(process)
    return None


def _only_wake(number: int, frame: object) -> None:
    """A handler, without which no byte would be written to the wake-up pipe."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
