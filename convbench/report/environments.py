"""Environments of saved reports: whether two are the same machine in the same state, and what a reader sees of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def same_environment(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether times measured in both may stand side by side: known, and equal but for what changes from run to run."""
    return bool(first) and bool(second) and _lasting(first) == _lasting(second)


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
