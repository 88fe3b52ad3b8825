"""Finding processes by a variable that their environments share."""

from __future__ import annotations

import os
import time
from pathlib import Path


def alive_under(mark: str) -> list[str]:
    """Command lines of the living processes, other than this one, that were started with ``MARK=mark``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_marked = entry.name.isdigit() and f"MARK={mark}".encode() in (entry / "environ").read_bytes()
            if is_marked and int(entry.name) != os.getpid():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [(entry / "cmdline").read_text().replace("\0", " ")] if state != "Z" else []
        except OSError:
            continue
    return found


def left_after(mark: str, seconds: float) -> list[str]:
    """Those that are still alive after a while that ends as soon as there are none."""
    end = time.monotonic() + seconds
    while (left := alive_under(mark)) and time.monotonic() < end:
        time.sleep(0.01)
    return left
