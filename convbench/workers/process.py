"""Fresh worker processes: started, given one request, listened to, stopped. Imports no torch.

The parent blocks on the worker's pipe and never polls: a parent that runs while its child measures takes the child's
processor and caches.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from convbench import errors
from convbench.errors import CaseTimeout, ConvbenchError, MeasurementError, UsageError
from convbench.workers.worker import PARENT_PID

Message = Callable[[Mapping[str, Any]], None]

HIGH_WATER = "memory_high_water"
_MAPPED_FROM_BYTES = 4096
_STDERR_LINES = 8


class WorkerTimeout(CaseTimeout):
    """The worker gave no sign of life for as long as was allowed, and was killed."""


class WorkerCrash(MeasurementError):  # noqa: N818
    """The worker ended without an answer. ``exit_code``: negative for the signal that killed it."""

    def __init__(self, exit_code: int, stderr: str) -> None:
        how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
        said = f"; it last said:\n{stderr}" if stderr else ""
        super().__init__(f"the measuring process {how} before it had an answer{said}")
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether it was killed outright, which is what the kernel does when memory runs out."""
        return self.exit_code == -getattr(signal, "SIGKILL", 9)


def run_in_worker(
    request: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_message: Message | None = None,
) -> Any:
    """What the job ``request["do"]`` (a row of `convbench.workers.worker.JOBS`) gives in a fresh process.

    env: added to this process's environment; see `timing_environment`.
    timeout_s: longest silence; every message starts it anew. None waits for ever.
    on_message: called with each message, in this process, in order.

    Raises what the job raised, where it is one of convbench's own errors, and else MeasurementError; WorkerTimeout;
    WorkerCrash.
    """
    with Worker(env=env) as worker:
        return worker.run(request, timeout_s=timeout_s, on_message=on_message)


def timing_environment(threads: int) -> dict[str, str]:
    """Variables under which times repeat: threads, the allocator, and a pad of its own for every process.

    The pad moves the stack, whose address decides about aliasing in caches, so that replicates differ in it.
    MALLOC_TOP_PAD_ keeps glibc from giving the heap's top back and faulting it in again on every call, which doubled
    the time of a 56×56 depthwise + pointwise block.
    """
    return {
        "MALLOC_TOP_PAD_": str(256 * 2**20),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "CONVBENCH_PAD": "x" * random.SystemRandom().randrange(4096),
    }


def start_high_water(threads: int) -> Worker:
    """A process whose high-water mark is the truth about one call, importing what it needs meanwhile.

    malloc's thresholds are fixed so that every tensor is mapped on its own and given back when it is freed; with the
    defaults freed memory stays in the process, and the mark reads 1.4 to 1.7 times the truth.
    """
    worker = Worker(
        env={
            **timing_environment(threads),
            "MALLOC_MMAP_THRESHOLD_": str(_MAPPED_FROM_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(_MAPPED_FROM_BYTES),
            "MALLOC_TOP_PAD_": "0",
            "MALLOC_MMAP_MAX_": str(2**20),
            "MALLOC_ARENA_MAX": "1",
        }
    )
    worker.prepare(HIGH_WATER)
    return worker


class Worker:
    """A fresh process that answers requests, one after the other. A context manager: leaving it ends the process."""

    def __init__(self, *, env: Mapping[str, str] | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._late = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "convbench.workers.worker", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **_parent_variables(), **(env or {})},
            text=True,
            encoding="utf-8",
            start_new_session=os.name == "posix",
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return not self._late and self._process.poll() is None

    def prepare(self, job: str) -> None:
        """Have it import what ``job`` needs; `wait_ready` waits for that."""
        self._write({"prepare": job})

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Block until the worker has prepared itself. Raises as `run` does."""
        line = self._read(timeout_s)
        if "error" in line:
            raise _error(line["error"])

    def run(
        self, request: Mapping[str, Any], *, timeout_s: float | None = None, on_message: Message | None = None
    ) -> Any:
        """Send the request and block until its result is there; see `run_in_worker`."""
        self._write(request)
        while True:
            line = self._read(timeout_s)
            if "result" in line:
                return line["result"]
            if "error" in line:
                raise _error(line["error"])
            if "message" in line and on_message is not None:
                on_message(line["message"])

    def close(self) -> None:
        """End the process and its children, whatever they are doing. May be called twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._kill()
        self._process.wait()
        self._stderr.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            text = json.dumps(line)
        except TypeError as error:
            raise UsageError(f"the case cannot be sent to a measuring process: {error}") from error
        with suppress(BrokenPipeError):  # a worker that is gone is found out about when its answer is read
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def _read(self, timeout_s: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        with self._watched(timeout_s):
            text = self._process.stdout.readline()
        if text.endswith("\n"):
            line: dict[str, Any] = json.loads(text)
            return line
        if self._late:
            raise WorkerTimeout(f"the measuring process gave no sign of life for {timeout_s:g} s and was stopped")
        raise WorkerCrash(self._process.wait(), self._last_words())

    @contextmanager
    def _watched(self, timeout_s: float | None) -> Iterator[None]:
        """Kill the worker if the body takes longer than ``timeout_s``."""
        if timeout_s is None:
            yield
            return
        timer = threading.Timer(timeout_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self._late = True
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_STDERR_LINES:])


def _parent_variables() -> dict[str, str]:
    """What makes a worker find the modules that this process finds, and end with it."""
    return {
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        PARENT_PID: str(os.getpid()),
    }


def _error(described: Mapping[str, str]) -> ConvbenchError:
    """The worker's exception, as the same class where it is one of convbench's own."""
    kind = getattr(errors, described["type"], None)
    if isinstance(kind, type) and issubclass(kind, ConvbenchError):
        return kind.__new__(kind, described["message"])  # MissingExtraError's own arguments are spent on its message
    return MeasurementError(f"{described['type']}: {described['message']}")
