"""Worker processes: started, asked, listened to, ended. Imports no torch.

The command sleeps while a worker works: a command that runs beside what it measures takes its processor and caches.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from convbench.errors import CaseTimeout, MeasurementError, UsageError
from convbench.workers.guard import descendants, marked
from convbench.workers.mailbox import Mailbox, TooLong
from convbench.workers.protocol import CHANNEL_LOST, COMMAND_PID, described, parsed
from convbench.workers.said import Said
from convbench.workers.text import brief

Message = Callable[[Mapping[str, Any]], None]

_MARK = "CONVBENCH_WORKER"
_ENDING_S = 10.0
_DRAINING_S = 1.0
_WRITTEN_AT_ONCE = 4096  # bytes that a pipe takes without anybody reading
_SILENT = {"KINETO_LOG_LEVEL": "99"}  # torch's profiler tells stderr that it looked for a GPU


class WorkerTimeout(CaseTimeout):
    """The worker gave no sign of life for as long as was allowed, or no answer in time, and was ended."""


class WorkerCrash(MeasurementError):  # noqa: N818
    """The worker ended without an answer. ``exit_code``: negative for the signal that killed it."""

    def __init__(self, exit_code: int, stderr: str) -> None:
        said = f"; it last said: {brief(stderr, lines=2, characters=300)}" if stderr else ""
        super().__init__(f"the measuring process {_ending(exit_code)} before it had an answer{said}")
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether it was killed outright, which is what the kernel does when memory runs out."""
        return self.exit_code == -getattr(signal, "SIGKILL", 9)


class WorkerGarbled(MeasurementError):  # noqa: N818
    """What came over the worker's pipe is no message of ours: the code under test wrote into it."""


def run_in_worker(
    request: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    deadline_s: float | None = None,
    on_message: Message | None = None,
) -> Any:
    """What the job ``request["do"]``, a ``module:function``, gives in a fresh process; see `Worker.run`.

    env: added to this process's environment.
    """
    with Worker(env=env) as worker:
        return worker.run(request, timeout_s=timeout_s, deadline_s=deadline_s, on_message=on_message)


class Worker:
    """A fresh process that answers requests, one after the other. A context manager: leaving it ends the process.

    With it ends whatever the jobs started: see `convbench.workers.guard`.
    Raises MeasurementError where no process can be started.
    """

    def __init__(self, *, env: Mapping[str, str] | None = None) -> None:
        self._mark = uuid.uuid4().hex
        variables = {**_SILENT, **os.environ, **_parent_variables(), _MARK: self._mark, **(env or {})}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "convbench.workers.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=variables,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise MeasurementError(f"no measuring process can be started: {error}") from error
        self._usable = True
        self._preparing = False
        self._over = threading.Event()
        self._mailbox = Mailbox()
        self._said = Said()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._listener = _started(self._mailbox.fill_from, self._process.stdout)
        self._hearer = _started(self._said.fill_from, self._process.stderr)
        _started(self._await_end)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._usable and self._process.poll() is None

    def prepare(self, job: str) -> None:
        """Have it import what ``job`` needs; `wait_ready` waits for that."""
        self._preparing = True
        self._write({"prepare": job})

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Block until the worker has prepared itself, if it was asked to. Raises as `run` does."""
        if self._preparing:
            self._listen(timeout_s, None, None)
            self._preparing = False

    def run(
        self,
        request: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        on_message: Message | None = None,
    ) -> Any:
        """Send the request and block until its result, a JSON value, is there.

        timeout_s: longest silence; every message starts it anew. deadline_s: longest time in all, whatever is heard.
        None waits for ever. on_message: called with each message, in this thread, in order.

        Raises what the job raised, where it is one of convbench's own errors, else MeasurementError, either with the
        name of the job's exception as ``kind``; WorkerTimeout; WorkerCrash; WorkerGarbled; UsageError for a request
        that JSON cannot hold. After any but the first two, and once interrupted, the worker is not `alive`.
        """
        self._write(request)
        return self._listen(timeout_s, deadline_s, on_message)

    def kill(self) -> None:
        """Have it end at once, from any thread; whoever waits for its answer gets WorkerCrash."""
        self._usable = False
        if not hasattr(os, "fork"):
            self._end_without_guard()
        with suppress(OSError):
            self._process.terminate()  # its guard ends the rest first

    def close(self) -> None:
        """End the process and all that descends from it, whatever they are doing. May be called twice."""
        self._usable = False
        self._mailbox.close()
        if self._process.returncode is None:
            self.kill()
            if not self._over.wait(_ENDING_S):  # the guard was stopped
                self._end_without_guard()
        if self._process.returncode == -getattr(signal, "SIGKILL", 9):  # and maybe not the worker, but its guard
            self._end_without_guard()
        for thread in (self._listener, self._hearer):
            thread.join(_DRAINING_S)
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            content = json.dumps(line).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the case cannot be sent to a measuring process: {error}") from error
        if len(content) <= _WRITTEN_AT_ONCE:
            self._send(content)
        else:
            _started(self._send, content)  # a worker that does not read must not stop this process

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        rest = memoryview(content)
        with suppress(OSError, ValueError):  # a worker that is gone is found out about when its answer is read
            while rest:
                rest = rest[self._process.stdin.write(rest) or 0 :]

    def _listen(self, timeout_s: float | None, deadline_s: float | None, on_message: Message | None) -> Any:
        usable, self._usable = self._usable, False
        until = None if deadline_s is None else time.monotonic() + deadline_s
        while True:
            line = self._read(timeout_s, until, deadline_s)
            if "message" in line:
                if on_message is not None:
                    on_message(line["message"])
                continue
            self._usable = usable and not line.get("spent", False)
            if "error" in line:
                raise described(line["error"])
            return line.get("result")

    def _read(self, timeout_s: float | None, until: float | None, deadline_s: float | None) -> dict[str, Any]:
        left = None if until is None else max(0.0, until - time.monotonic())
        limits = [limit for limit in (timeout_s, left) if limit is not None]
        try:
            content = self._mailbox.take(min(limits) if limits else None)
        except TimeoutError:
            self.close()
            if limits and min(limits) == left:
                raise WorkerTimeout(f"it took longer than {deadline_s:g} s and was stopped") from None
            silent = f"the measuring process gave no sign of life for {timeout_s:g} s and was stopped"
            raise WorkerTimeout(silent) from None
        except TooLong as error:
            self.close()
            raise WorkerGarbled(f"the measuring process sent {error}") from None
        if content is None:
            raise WorkerCrash(self._exit_code(), self._said.last)
        return self._parsed(content)

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            return parsed(content)
        except (ValueError, RecursionError):
            self.close()
            began = brief(content[:80].decode(errors="replace"), lines=1)
            raise WorkerGarbled(f"something wrote into the pipe of the measuring process: {began!r}") from None

    def _exit_code(self) -> int:
        """Of a worker whose pipe has ended: it is ending, or the job has closed the pipe."""
        if not self._over.wait(_ENDING_S):
            self.close()
            return CHANNEL_LOST
        self._hearer.join(_DRAINING_S)
        code: int = self._process.returncode
        return code

    def _await_end(self) -> None:
        """Tell whoever listens that the worker has ended, even while a process that escaped holds its pipe."""
        self._process.wait()
        self._over.set()
        self._listener.join(_DRAINING_S)
        self._mailbox.close()

    def _end_without_guard(self) -> None:
        for process in {*descendants(self._process.pid), *marked(self._mark)}:
            with suppress(OSError):
                os.kill(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        with suppress(OSError):
            self._process.kill()


def _started(function: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def _parent_variables() -> dict[str, str]:
    """What makes a worker find the modules that this process finds, and end with it."""
    here = os.environ.get("PWD", os.sep)
    with suppress(OSError):  # the directory may have been removed
        here = os.getcwd()
    return {
        "PYTHONPATH": os.pathsep.join(entry or here for entry in sys.path),
        COMMAND_PID: str(os.getpid()),
    }


def _ending(exit_code: int) -> str:
    if exit_code == CHANNEL_LOST:
        return f"lost its pipe to this one, which the code under test closed (exit code {exit_code}),"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    if exit_code == -getattr(signal, "SIGKILL", 9):
        return "was killed by signal 9 (SIGKILL), as the kernel does when memory runs out,"
    with suppress(ValueError):
        return f"was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"was killed by signal {-exit_code}"
