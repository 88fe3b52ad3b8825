"""Requests to a worker that is replaced when it dies: every request gets an answer. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convbench.errors import CaseTimeout, ConvbenchError, OutOfMemory, UsageError
from convbench.workers.process import Message, Worker, WorkerCrash
from convbench.workers.text import brief

_START_S = 600.0

Status = Literal["error", "oom", "timeout", "interrupted"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no value. ``reason``: printable, at most three lines and 500 characters.

    kind: name of the exception's class. refused: the request itself was wrong, a UsageError.
    """

    status: Status
    reason: str
    kind: str
    refused: bool = False

    @classmethod
    def of(cls, error: ConvbenchError) -> Failure:
        """What `Worker.run` raised, as data."""
        status: Status = "error"
        if isinstance(error, CaseTimeout):
            status = "timeout"
        elif isinstance(error, OutOfMemory) or (isinstance(error, WorkerCrash) and error.killed):
            status = "oom"
        return cls(status, brief(str(error)), error.kind or type(error).__name__, isinstance(error, UsageError))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: its value, a JSON value, or a failure."""

    request: Mapping[str, Any]
    value: Any = None
    failure: Failure | None = None


def ask_each(
    requests: Iterable[Mapping[str, Any]],
    *,
    timeout_s: float | None = None,
    deadline_s: float | None = None,
    on_message: Message | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Answer]:
    """Answers in the order of the requests, one worker for all of them as long as it lives.

    timeout_s, deadline_s, on_message: of each request, as for `Worker.run`; importing its job's module into a fresh
    worker does not count. env: as for `run_in_worker`.
    A request is taken when the answer before it has been used; leaving the iterator ends the worker. KeyboardInterrupt
    passes through.
    """
    worker: Worker | None = None
    try:
        for request in requests:
            try:
                if worker is None:
                    worker = Worker(env=env)
                    worker.prepare(request["do"])
                    worker.wait_ready(_START_S)
                value = worker.run(request, timeout_s=timeout_s, deadline_s=deadline_s, on_message=on_message)
                answer = Answer(request, value)
            except ConvbenchError as error:
                answer = Answer(request, failure=Failure.of(error))
            if worker is not None and not worker.alive:
                worker.close()
                worker = None
            yield answer
    finally:
        if worker is not None:
            worker.close()
