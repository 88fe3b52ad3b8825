"""A worker process: JSON requests in, one a line, and JSON lines out, the last of which for a request holds its result.

``python -m convbench.workers.worker request.json``, or with the requests on stdin. A request names its job,
``{"do": "module:function", …}``; the lines are ``{"message": …}`` while it runs and at the end ``{"result": …}`` or
``{"error": {"type": …, "message": …}}``. A line ``{"prepare": JOB}`` on stdin before the request imports what the job
needs and answers ``{"ready": JOB}``, so that a process can be brought up before its turn comes.

Whatever the measured code prints goes to stderr: stdout carries nothing but these lines.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

Send = Callable[[Mapping[str, Any]], None]
Job = Callable[[Mapping[str, Any], Send], Any]

JOBS: dict[str, str] = {
    "latency": "convbench.measures.latency.timing.job:run",
    "instructions": "convbench.measures.latency.timing.instructions:run",
    "memory_high_water": "convbench.measures.memory.high_water:run",
}
"""Every job by name: ``"module:function"`` of a `Job`, imported in the worker alone."""

_LONGEST_MESSAGE = 10_000
PARENT_PID = "CONVBENCH_PARENT_PID"


def main(argv: list[str] | None = None) -> int:
    """Answer the requests; 0 if the last one gave a result, 1 if it gave an error."""
    arguments = sys.argv[1:] if argv is None else argv
    channel = _take_stdout()
    _die_with_parent()
    code = 0
    for line in _requests(arguments):
        try:
            _write(channel, **_answer(json.loads(line), channel))
            code = 0
        except BaseException as error:
            _write(channel, error=_described(error))
            code = 1
    return code


def _answer(request: Mapping[str, Any], channel: TextIO) -> dict[str, Any]:
    if "prepare" in request:
        find_job(request["prepare"])
        return {"ready": request["prepare"]}
    return {"result": find_job(request["do"])(request, lambda message: _write(channel, message=message))}


def _described(error: BaseException) -> dict[str, str]:
    try:
        text = str(error)[:_LONGEST_MESSAGE]
    except BaseException:
        text = "(an error without a text)"
    return {"type": type(error).__name__, "message": text}


def find_job(name: str) -> Job:
    """Import the job called ``name``, a row of `JOBS` or ``module:function``. Raises UsageError for any other."""
    location = JOBS.get(name, name)
    module, colon, attribute = location.partition(":")
    if not colon:
        from convbench.errors import UsageError

        raise UsageError(f"no job is called {name!r}; the jobs are {', '.join(JOBS)}")
    job: Job = getattr(importlib.import_module(module), attribute)
    return job


def _requests(arguments: list[str]) -> Iterator[str]:
    """The request in the file that ``arguments`` name, or those on stdin."""
    if arguments and arguments[0] != "-":
        yield Path(arguments[0]).read_text(encoding="utf-8")
    else:
        yield from sys.stdin


def _take_stdout() -> TextIO:
    """Keep stdout for the answer and send everything else that is printed to stderr, from C as well."""
    sys.stdout.flush()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _write(channel: TextIO, **line: Any) -> None:
    channel.write(json.dumps(line) + "\n")
    channel.flush()


def _die_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end if the parent is killed (Linux)."""
    parent = os.environ.get(PARENT_PID)
    if parent is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != int(parent):
            os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing torch down takes as long as a small measurement
