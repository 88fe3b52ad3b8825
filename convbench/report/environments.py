"""Environments of saved reports: whether two are the same machine in the same state, and what a reader sees of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Words in the names of entries that change from run to run on one machine in one state.
_PASSING = frozenset(
    [
        *("load", "steal", "free", "available", "used", "idle", "mhz", "temperature", "uptime", "calibration"),
        *("time", "times", "at", "start", "started", "end", "ended", "utc", "date", "pid", "argv", "command"),
        *("seed", "seeds", "pad", "commit", "dirty", "sha256"),
    ]
)


def same_environment(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether times measured in both may stand side by side: known, and equal but for what changes from run to run."""
    return bool(first) and bool(second) and _lasting(first) == _lasting(second)


def _lasting(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _lasting(value) if isinstance(value, Mapping) else value
        for key, value in environment.items()
        if not _PASSING & set(re.split(r"[^a-z0-9]+", key.lower()))
    }


def flatten(environment: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every entry as ``(dotted name, text)``; nothing for what is empty."""
    for key, value in environment.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif value not in (None, "", [], ()):
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
