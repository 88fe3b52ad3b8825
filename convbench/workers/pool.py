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


class Asker:
    """Gives the answer to each request in turn, one worker for all of them as long as it lives. A context manager.

    timeout_s, deadline_s, on_message: of each request, as for `Worker.run`; importing its job, or what ``prepare``
    names, into a fresh worker does not count. env: as for `run_in_worker`.
    KeyboardInterrupt passes through; the next request then has a fresh worker.
    """

    def __init__(
        self,
        *,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        on_message: Message | None = None,
        env: Mapping[str, str] | None = None,
        prepare: str | None = None,
    ) -> None:
        self._limits = {"timeout_s": timeout_s, "deadline_s": deadline_s}
        self._on_message = on_message
        self._env = env
        self._prepare = prepare
        self._worker: Worker | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """The answer to ``request``, which is sent now."""
        if self._worker is not None and not self._worker.alive:
            self.close()
        try:
            if self._worker is None:
                self._worker = Worker(env=self._env)
                self._worker.prepare(self._prepare or request["do"])
                self._worker.wait_ready(_START_S)
            return Answer(request, self._worker.run(request, on_message=self._on_message, **self._limits))
        except ConvbenchError as error:
            return Answer(request, failure=Failure.of(error))

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def ask_each(
    requests: Iterable[Mapping[str, Any]],
    *,
    timeout_s: float | None = None,
    deadline_s: float | None = None,
    on_message: Message | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Answer]:
    """Answers in the order of the requests, as an `Asker` of these arguments gives them.

    A request is taken when the answer before it has been used; leaving the iterator ends the worker.
    """
    with Asker(timeout_s=timeout_s, deadline_s=deadline_s, on_message=on_message, env=env) as ask:
        for request in requests:
            yield ask(request)
