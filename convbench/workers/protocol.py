"""What goes over a worker's pipes. The command reads it strictly, since a job may write there too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from convbench import errors
from convbench.errors import ConvbenchError, MeasurementError, UsageError
from convbench.workers.text import brief, text_of

COMMAND_PID = "CONVBENCH_COMMAND_PID"
CHANNEL_LOST = 74  # the exit code of a worker that cannot answer any more

_LONGEST_MESSAGE = 10_000
_ERROR = ("type", "kind", "message")


def encoded(line: Mapping[str, Any]) -> bytes:
    """A worker's line. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    # Half a surrogate pair, as in the name of a file that is not UTF-8, would stop every writer further on.
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def parsed(content: bytes) -> dict[str, Any]:
    """The line that a worker sent. Raises ValueError or RecursionError if no worker sends such a line."""
    line = json.loads(content)
    if not isinstance(line, dict):
        raise ValueError("a line is an object")
    if "error" in line:
        error = line["error"]
        if not isinstance(error, dict) or not all(isinstance(error.get(name), str) for name in _ERROR):
            raise ValueError("an error has a type, a kind and a message")
    elif "message" in line:
        if not isinstance(line["message"], dict):
            raise ValueError("a message is an object")
    elif "result" not in line and "ready" not in line:
        raise ValueError("a line says something")
    return line


def describe(error: BaseException) -> dict[str, str]:
    """The error as data; its ``type`` is the nearest class that `convbench.errors` has."""
    names = [base.__name__ for base in type(error).__mro__]
    own = next((name for name in names if hasattr(errors, name)), "MeasurementError")
    message = text_of(error, _LONGEST_MESSAGE)
    if {"MemoryError", "OutOfMemoryError"} & set(names) or "DefaultCPUAllocator" in message:
        own = "OutOfMemory"
    if isinstance(error, SystemExit):
        message = f"the code under test called exit({message})"
    return {"type": own, "kind": names[0], "message": message}


def described(error: Mapping[str, str]) -> ConvbenchError:
    """The exception of which `describe` made ``error``, as the same class where it is one of convbench's own."""
    kind = getattr(errors, error["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, ConvbenchError)):
        kind = MeasurementError
    message = brief(error["message"], lines=40, characters=8000)
    name = brief(error["kind"], lines=1, characters=100)
    if name != kind.__name__ and not issubclass(kind, UsageError):
        message = f"{name}: {message}"
    again = kind.__new__(kind, message)  # MissingExtraError's own arguments are spent on its message
    again.kind = name
    return again
