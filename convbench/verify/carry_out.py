"""Carrying the checks out in workers: a target that ends one, or never comes back, fails that check. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convbench.case import Case
from convbench.errors import UsageError
from convbench.verify.job import Prepared
from convbench.verify.result import CheckResult
from convbench.verify.table import Check
from convbench.workers.codec import decode
from convbench.workers.pool import Answer

Ask = Callable[[Mapping[str, Any]], Answer]
Progress = Callable[[str], None]


@dataclass(slots=True)
class Verified:
    """A target, how it is verified, and what its checks gave so far.

    prepared: None where its code ended the process before that was known; ``ended`` then says how.
    """

    case: Case
    name: str
    prepared: Prepared | None = None
    ended: str = ""
    results: list[CheckResult] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why it cannot even be called, or nothing."""
        return self.ended or (self.prepared.problem if self.prepared is not None else "")


def prepare(ask: Ask, case: Case, name: str, progress: Progress = lambda _: None) -> Verified:
    """Have the target built once, to prove that it can be, at a size that it takes. Raises UsageError."""
    progress(f"{name}: building")
    answer = ask({"do": "convbench.verify.job:prepare", "case": case.to_json()})
    if answer.failure is None:
        found = decode(Prepared, answer.value)
        return Verified(Case.from_json(found.case), name, found)
    if answer.failure.refused:
        raise UsageError(answer.failure.reason)
    return Verified(case, name, ended=answer.failure.reason)


def results(
    ask: Ask, target: Verified, checks: Sequence[Check], progress: Progress = lambda _: None, *, thorough: bool = False
) -> Iterator[CheckResult]:
    """One result a check, as each is done. Where the forward pass fails, nothing else can be asked.

    thorough: see `Trial`.
    """
    ended = bool(target.ended)
    for check in checks:
        progress(f"{target.name}: {check.name}")
        if check.skipped:
            yield CheckResult(check.name, check.required, "skipped", "left out on request", 0.0)
        elif target.problem and check.name != "forward":
            reason = f"the forward pass fails: {target.problem}"
            yield CheckResult(check.name, check.required, "skipped", reason, 0.0, ended)
        elif ended:
            yield CheckResult(check.name, check.required, "fail", target.ended, 0.0, ended)
        else:
            yield _carried_out(ask, target.case, check, thorough)


def _carried_out(ask: Ask, case: Case, check: Check, thorough: bool) -> CheckResult:
    request = {"do": "convbench.verify.job:check", "case": case.to_json(), "check": check.name}
    begun = time.perf_counter()
    answer = ask({**request, "required": check.required, "thorough": thorough})
    if answer.failure is None:
        return decode(CheckResult, answer.value)
    seconds = time.perf_counter() - begun
    return CheckResult(check.name, check.required, "fail", answer.failure.reason, seconds, ended=True)
