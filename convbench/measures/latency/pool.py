"""Worker processes that come up side by side while nothing is measured, and wait for their turn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from convbench.measures.latency.timing.order import JOB
from convbench.workers.environment import Allocator, sharing_exports, timing_environment
from convbench.workers.process import Worker

_START_S = 300.0
_WAITING_AT_MOST = 5
_WAITING_BYTES = 2**30


class Pool:
    """Fresh processes for one measurement, and a folder of its own; a context manager, which ends them all.

    Importing torch takes a process longer than a small measurement: made early, the pool imports while the caller does
    other things. At most five wait at a time, fewer where memory is short; the others start when they are wanted.
    """

    def __init__(self, threads: int, count: int, allocator: Allocator = "kept") -> None:
        self._threads = threads
        self._allocator = allocator
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="convbench-")))
        self._workers: list[Worker] = []
        self._waiting = [self._stack.enter_context(self._started()) for _ in range(min(count, _room()))]
        self.killed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def kill(self) -> None:
        """End all processes at once, from any thread."""
        self.killed = True
        for worker in list(self._workers):
            worker.kill()

    @property
    def waiting(self) -> int:
        """How many processes have been started and not yet used."""
        return len(self._waiting)

    def wait_ready(self) -> None:
        """Block until all have imported what they need, so that none does so while another measures."""
        for worker in self._waiting:
            worker.wait_ready(_START_S)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """The next one, ready: its start-up is no part of the time that a target may take."""
        if self.killed:
            raise KeyboardInterrupt
        self.wait_ready()
        if self._waiting:
            with self._waiting.pop(0) as worker:
                yield worker
            return
        with self._started() as worker:
            worker.wait_ready(_START_S)
            yield worker

    def _started(self) -> Worker:
        worker = Worker(env=self._environment())
        worker.prepare(JOB)
        self._workers.append(worker)
        return worker

    def _environment(self) -> dict[str, str]:
        """Compiled code goes into a cache of this measurement's own, so that compile times are of an empty one; what is
        exported for another runtime is there for the processes that come after."""
        cache = {"TORCHINDUCTOR_CACHE_DIR": os.fspath(self.folder / "inductor")}
        return {
            **timing_environment(self._threads, self._allocator),
            **cache,
            **sharing_exports(self.folder / "exports"),
        }


def _room() -> int:
    from convbench.execution.headroom import available_bytes

    return max(1, min(_WAITING_AT_MOST, available_bytes() // (2 * _WAITING_BYTES)))
