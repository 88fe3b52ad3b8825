"""Looking at what a file names before any of it is built. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from convbench.case import Case
from convbench.errors import UsageError
from convbench.target.vetting import refuse_by_sight
from convbench.workers.pool import ask_each

JOB = "convbench.target.vetting:look"
LOOK_LIMIT_S = 300.0
"""Longest that importing a target may take."""


def require_modules(named: Iterable[tuple[str, Case]]) -> None:
    """Refuse whatever data may not name (see `convbench.target.vetting`); each case comes with its place in the data.

    What is told by sight is refused before anything is imported; the rest is imported in a worker, and nothing called.
    Raises UsageError naming the place.
    """
    unknown: dict[str, str] = {}
    for place, case in named:
        try:
            if refuse_by_sight(case):
                unknown.setdefault(case.target, place)
        except UsageError as error:
            raise type(error)(f"{place}: {error}") from error
    requests = [{"do": JOB, "target": target} for target in unknown]
    for answer in ask_each(requests, timeout_s=LOOK_LIMIT_S):
        if answer.failure is not None:
            raise UsageError(f"{unknown[answer.request['target']]}: {answer.failure.reason}")
