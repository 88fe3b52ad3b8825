"""Environments of saved reports: whether two are the same machine in the same state, and what a reader sees of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convbench.report.units import significant

# Entries that change from run to run on one machine in one state, or that the records themselves say.
_PASSING = frozenset(
    [
        *("start", "end", "steal_share", "sources", "convbench", "packages", "calibrations"),
        *("threads", "interop_threads", "case_threads", "seeds", "grad_modes", "variables"),
    ]
)


def same_environment(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether times measured in both may stand side by side: known, and equal but for what changes from run to run."""
    return bool(first) and bool(second) and _lasting(first) == _lasting(second)


def _lasting(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _lasting(value) if isinstance(value, Mapping) else value
        for key, value in environment.items()
        if key not in _PASSING
    }


def flatten(environment: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every entry as ``(dotted name, text)``; nothing for what is empty."""
    for key, value in environment.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                yield from flatten(item, f"{name}.{number}.")
        elif value not in (None, "", [], ()):
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        shown = significant(value, 6)
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
