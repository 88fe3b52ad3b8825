"""What commands share that ask workers: answers as values or errors, the machine's description, tables as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.cli.console import warn
from convbench.cli.measuring import command, progress
from convbench.cli.saving import save_report
from convbench.errors import ConvbenchError, MeasurementError, UsageError
from convbench.measures.table import DEFAULT_TIMEOUT_S
from convbench.reference import labels
from convbench.registry import resolve
from convbench.target.packed import Packed
from convbench.workers.pool import Answer, Asker, Failure

if TYPE_CHECKING:
    from convbench.environment import Moment

_NEEDED = "convbench.target.blueprint:blueprint"  # brings torch in, whose import is no part of a target's time

Ask = Callable[[Mapping[str, Any]], Answer]
Tell = Callable[[str], None]


def seconds_of(timeout_s: float | None) -> float:
    """The longest silence of a worker. Raises UsageError for a wrong timeout."""
    if timeout_s is None:
        return DEFAULT_TIMEOUT_S
    if not timeout_s > 0:
        raise UsageError(f"--timeout must be positive, got {timeout_s}")
    return timeout_s


@contextmanager
def asking(timeout_s: float | None) -> Iterator[tuple[Ask, Tell]]:
    """A function that asks workers, and one that shows what is being done. Raises UsageError for a wrong timeout."""
    patience = seconds_of(timeout_s)
    with progress() as tell:

        def hear(message: Mapping[str, Any]) -> None:
            if "progress" in message:
                tell(str(message["progress"]))

        with Asker(timeout_s=patience, on_message=hear, prepare=_NEEDED) as ask:
            yield ask, tell


def value_of(answer: Answer) -> Any:
    """The answer's value. Raises the failure as the error that it was: UsageError, or a MeasurementError."""
    if answer.failure is not None:
        raise error_of(answer.failure)
    return answer.value


def error_of(failure: Failure) -> ConvbenchError:
    """The failure as an exception, whose class decides about the exit code."""
    return (UsageError if failure.refused else MeasurementError)(failure.reason)


@dataclass(frozen=True, slots=True)
class Target:
    """A case, the name that tables print for it, and why it cannot be measured, where that is known beforehand."""

    case: Case
    name: str
    failure: Failure | None = None


def named(cases: Sequence[Case]) -> list[Target]:
    """The cases by labels that tell them apart. Raises UsageError for a wrong one, before a process is started."""
    names = labels(cases, [resolve(case.target).name for case in cases])
    return [Target(case, name) for case, name in zip(cases, names, strict=True)]


def looked_over(ask: Ask, cases: Sequence[Case]) -> list[Target]:
    """Have every case imported and its options checked, before anything is measured.

    Raises UsageError for a wrong one; one whose code ends the process or hangs is a target with a failure.
    """
    found = []
    for target in named(cases):
        asked = {"packed": Packed(target.case).to_json(), "devices_here": True, "builds": False}
        failure = ask({"do": "convbench.measures.job:look_over", **asked}).failure
        if failure is not None and failure.refused:
            raise error_of(failure)
        found.append(Target(target.case, target.name, failure))
    return found


def value_for(target: Target, ask: Ask, job: Mapping[str, Any]) -> Any:
    """What a job finds of one target that was looked over. Raises what `value_of` does, also where that had failed."""
    if target.failure is not None:
        raise error_of(target.failure)
    return value_of(ask({**job, "packed": Packed(target.case).to_json()}))


def surroundings(ask: Ask, since: Moment | None) -> Mapping[str, Any]:
    """The environment record, as a worker finds it; empty, with a warning, where it cannot."""
    answer = ask({"do": "convbench.environment:describe", "since": None if since is None else asdict(since)})
    if answer.failure is not None:
        warn(f"the machine could not be described: {answer.failure.reason}")
        return {}
    found: Mapping[str, Any] = answer.value
    return found


def save_table(
    paths: Sequence[Path], name: str, rows: Sequence[Mapping[str, Any]], ask: Ask, since: Moment | None
) -> int:
    """Write a table that is no records to every ``-o`` file; 0, or 3 where one could not be written."""
    from convbench.report.io.document import Report

    if not paths:
        return 0
    return save_report(paths, Report((), surroundings(ask, since), {name: rows}, command()))
