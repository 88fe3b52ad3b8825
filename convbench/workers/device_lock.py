"""One measurement at a time on a device, over all of this user's processes on this machine. Imports no torch."""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOOKS_S = 1.0  # who waits for a device must not disturb the one that measures on it


def physical_device(device: str) -> str:
    """The device that is occupied: ``cuda`` is the first one that this process may see."""
    kind, _, index = device.partition(":")
    if kind in ("cpu", "meta"):
        return kind
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if kind == "cuda" else ""
    names = visible.split(",") if visible else []
    place = int(index or 0)
    return f"{kind}:{names[place] if place < len(names) else place}"


@contextmanager
def device_lock(device: str, tell: Callable[[str], None], stopping: threading.Event | None = None) -> Iterator[bool]:
    """Hold ``device`` against every other measurement; False if ``stopping`` was set while waiting.

    tell: gets a line once, if it has to wait.
    """
    folder = Path(tempfile.gettempdir()) / f"convbench-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(folder / f"{device.replace(':', '-')}.lock")
    stopping = stopping or threading.Event()
    told = False
    while not stopping.is_set():
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not told:
                tell(f"waiting for {device}: another convbench is measuring on it")
            told = True
            stopping.wait(_LOOKS_S)
    try:
        yield lock.is_locked
    finally:
        lock.release()
