"""A worker process: JSON requests in, one a line, and JSON lines out, the last of which for a request holds its answer.

``python -m convbench.workers.worker``, with the requests on stdin. A request names its job, ``{"do": "module:function",
…}``; the lines are ``{"message": …}`` while it runs and at the end ``{"result": …}`` or ``{"error": {"type": …, "kind":
…, "message": …}}``. A line ``{"prepare": JOB}`` imports what the job needs and answers ``{"ready": JOB}``, so that a
process can be brought up before its turn comes. An answer that also has ``"spent": true`` is the worker's last: the job
left threads or processes running, which would disturb the next one.

The job may do what it likes: its stdin is empty, whatever it prints goes to stderr, and only the process that was
started answers, not one that the job forked.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from convbench.workers.protocol import CHANNEL_LOST, COMMAND_PID, describe, encoded
from convbench.workers.surroundings import Surroundings

Send = Callable[[Mapping[str, Any]], None]
Job = Callable[[Mapping[str, Any], Send], Any]


def main() -> int:
    """Answer every request until stdin ends."""
    command = os.environ.get(COMMAND_PID)
    if command is not None and hasattr(os, "fork"):
        from convbench.workers.guard import stand_guard

        stand_guard(int(command))
    _be_killed_first()
    channel = Channel()
    surroundings = Surroundings()
    for line in channel.requests():
        answer = _answer(line, channel)
        if "ready" not in answer:
            surroundings.put_back()
            if _left_running():
                answer["spent"] = True
        try:
            channel.send(**answer)
        except (TypeError, ValueError, RecursionError) as error:
            channel.send(error=describe(error), spent=True)
    return 0


class Channel:
    """The pipes to the command, taken from stdin and stdout, which then lead nowhere and to stderr.

    A job may close or reuse any descriptor, so that each use makes sure that it still is the pipe.
    """

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        self._pid = os.getpid()
        self._pipes = [_identity(self._in), _identity(self._out)]
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]

    def requests(self) -> Iterator[bytes]:
        """Lines from the command."""
        waiting = b""
        while True:
            line, newline, rest = waiting.partition(b"\n")
            if newline:
                waiting = rest
                yield line
                continue
            self._require(0)
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                return
            waiting += chunk

    def send(self, **line: Any) -> None:
        """Write one line. Raises as `encoded` does."""
        content = memoryview(encoded(line))
        self._require(1)
        while content:
            content = content[os.write(self._out, content) :]

    def _require(self, end: int) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a child of the job's, come back into our loop
        with suppress(OSError):
            if _identity((self._in, self._out)[end]) == self._pipes[end]:
                return
        os._exit(CHANNEL_LOST)


def _answer(line: bytes, channel: Channel) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if "prepare" in request:
            find_job(request["prepare"])
            return {"ready": request["prepare"]}
        return {"result": find_job(request["do"])(request, lambda message: channel.send(message=message))}
    except BaseException as error:  # whatever ends a job, SystemExit included, is its answer
        return {"error": describe(error)}


def find_job(name: str) -> Job:
    """Import the job at ``module:function``."""
    module, _, attribute = name.partition(":")
    job: Job = getattr(importlib.import_module(module), attribute)
    return job


def _left_running() -> bool:
    """Whether threads or processes of the job are still there."""
    if threading.active_count() > 1:
        return True
    with suppress(AttributeError, ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _be_killed_first() -> None:
    """Where memory runs out, let the kernel choose this process and not the command; leave no core files."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)  # tearing torch down takes as long as a small measurement
