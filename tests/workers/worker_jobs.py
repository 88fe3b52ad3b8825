"""Jobs that the tests of worker processes run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from convbench.errors import MissingExtraError, ShapeError
from convbench.workers.worker import Send


def echo(request: Mapping[str, Any], send: Send) -> Any:
    print("a line that the measured code prints")
    os.write(1, b"and one from below Python\n")
    for step in range(request.get("messages", 0)):
        send({"step": step})
    return {"said": request["say"], "pid": os.getpid(), "env": dict(os.environ), "path": sys.path}


def hang(request: Mapping[str, Any], send: Send) -> Any:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    send({"child": child.pid})
    time.sleep(600)


def slow_but_alive(request: Mapping[str, Any], send: Send) -> Any:
    for _ in range(4):
        time.sleep(0.5)
        send({"alive": True})
    return "done"


def fail(request: Mapping[str, Any], send: Send) -> Any:
    if request["how"] == "own":
        raise ShapeError("dim must be a multiple of 4, got 30")
    if request["how"] == "extra":
        raise MissingExtraError("timm", "hosts", "timm:resnet18")
    if request["how"] == "exit":
        print("these are my last words", file=sys.stderr)
        os._exit(3)
    if request["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ZeroDivisionError("division by zero")


def read(request: Mapping[str, Any], send: Send) -> Any:
    with open(request["path"]) as file:
        return file.read()
