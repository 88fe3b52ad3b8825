"""What ``profile`` and ``compare`` share: settings from flags, progress on stderr, files at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.cli.console import err, note, verbosity, warn
from convbench.cli.options import TimingFlags
from convbench.cli.saving import save_report
from convbench.errors import UsageError

if TYPE_CHECKING:
    from convbench.environment import Moment
    from convbench.measures.latency import LatencySettings
    from convbench.measures.outcome import Outcome


def latency_settings(flags: TimingFlags) -> LatencySettings:
    """The timing protocol that the flags ask for. Raises UsageError."""
    from convbench.measures.latency import LatencySettings

    for name, value in (("--processes", flags.processes), ("--max-time", flags.max_time), ("--timeout", flags.timeout)):
        if value is not None and value <= 0:
            raise UsageError(f"{name} must be positive, got {value}")
    given: dict[str, Any] = {
        "processes": flags.processes,
        "max_time_s": flags.max_time,
        "timeout_s": flags.timeout,
        "rigorous": flags.rigorous,
        "metric": flags.metric,
        "force_threads": flags.force,
    }
    return LatencySettings(**{key: value for key, value in given.items() if value is not None})


@contextmanager
def measuring(device: str, measures: Collection[str]) -> Iterator[Callable[[str], None]]:
    """Have the device to oneself where something is timed; gives a function that shows what is being done."""
    from convbench.workers.device_lock import device_lock, physical_device

    with progress() as tell:
        if "latency" not in measures:
            yield tell
            return
        with device_lock(physical_device(device), note):
            yield tell


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done: a live line in a terminal, nothing when piped or quiet."""
    if verbosity.quiet or not err().is_terminal:
        yield (note if verbosity.verbose and not verbosity.quiet else lambda _: None)
        return
    from rich.text import Text

    with err().status("starting") as status:
        yield lambda message: status.update(Text(message))


def tell_problems(outcomes: Sequence[Outcome]) -> None:
    """Say on stderr what the reader must know before trusting the table."""
    for outcome in outcomes:
        if outcome.problem is not None:
            status, reason = outcome.problem
            warn(f"{outcome.name}: {status}: {reason}")
        for message in _notes(outcome):
            note(f"{outcome.name}: {message}")


def _notes(outcome: Outcome) -> list[str]:
    found = list(outcome.notes)
    if outcome.erf is not None:
        found += [f"ERF: {message}" for message in outcome.erf.warnings]
    if outcome.latency is not None:
        found += [f"latency: {message}" for message in outcome.latency.notes]
    if outcome.ratio is not None and outcome.ratio.withheld is not None:
        found.append(f"latency: {outcome.ratio.withheld}")
    if outcome.memory is not None:
        found += [f"memory: {message}" for message in outcome.memory.notes]
    if outcome.cost is not None and outcome.cost.method == "real":
        found.append(f"cost: counted on a real run: {outcome.cost.reason}")
    return found


def save(
    paths: Sequence[Path] | None,
    outcomes: Sequence[Outcome],
    since: Moment | None,
    sections: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> int:
    """Write the outcomes' records, with their environment, to every ``-o`` file; 0, or 3 where one could not be."""
    if not paths:
        return 0
    from convbench.environment import environment
    from convbench.report.io.document import Report
    from convbench.report.io.fields import field_of

    modules = {outcome.name: outcome.subject.module for outcome in outcomes if outcome.subject is not None}
    surroundings = environment([outcome.case for outcome in outcomes], modules=modules, since=since).to_json()
    drawn = [field_of(outcome.name, outcome.erf) for outcome in outcomes if outcome.erf is not None]
    records = [outcome.record() for outcome in outcomes]
    return save_report(paths, Report(records, surroundings, sections or {}, command(), fields=drawn))


def start(paths: Sequence[Path] | None) -> Moment | None:
    """The state of the machine before measuring, where a file is to say it."""
    if not paths:
        return None
    from convbench.environment import moment

    return moment()


def command() -> str:
    """The command line as typed, for reports that say how they were made."""
    return shlex.join(["convbench", *sys.argv[1:]])


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when every case was measured, 3 when some failed."""
    return 3 if any(outcome.problem is not None for outcome in outcomes) else 0
