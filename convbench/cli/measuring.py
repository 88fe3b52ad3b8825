"""What ``profile`` and ``compare`` share: settings from flags, progress on stderr, files at the end."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.cli.console import err, note, print_footnote, verbosity, warn
from convbench.cli.options import TimingFlags
from convbench.cli.saving import save_report
from convbench.errors import UsageError
from convbench.reading import shown
from convbench.text import once_a_kind

if TYPE_CHECKING:
    from convbench.case import Case
    from convbench.environment import Moment
    from convbench.measures.carry_out import Measurer
    from convbench.measures.latency.settings import LatencySettings
    from convbench.measures.outcome import Outcome
    from convbench.measures.table import Plan

_QUIET_S = 5.0
"""Between two lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What `carry_out` gave; interrupted: whether by Ctrl-C, with what was complete. since: when it began."""

    outcomes: Sequence[Outcome]
    interrupted: bool
    environment: Mapping[str, Any]
    since: Moment | None

    @property
    def exit_code(self) -> int:
        """0 when every case was measured, 3 when some failed, 130 when interrupted."""
        return 130 if self.interrupted else exit_code(self.outcomes)


def carry_out(cases: Sequence[Case], plan: Plan, paths: Sequence[Path] | None = None, baseline: int = 0) -> Measured:
    """Measure ``cases`` in worker processes, showing what is done; see `carrying_out`."""
    return carrying_out(lambda measurer: measurer.carry_out(cases, plan, baseline, note), paths)


def carrying_out(measure: Callable[[Measurer], list[Outcome]], paths: Sequence[Path] | None) -> Measured:
    """What ``measure`` gives, also where it is interrupted. Raises UsageError for what cannot be met.

    paths: the files that are to be written, for which the machine is described.
    """
    from convbench.measures.carry_out import Interrupted, Measurer

    since, interrupted = start(paths), False
    with progress() as tell, Measurer(tell, describes=bool(paths)) as measurer:
        try:
            outcomes = measure(measurer)
        except Interrupted as stop:
            outcomes, interrupted = stop.outcomes, True
    if verbosity.verbose:
        for outcome in outcomes:
            note(f"{outcome.name}: " + ", ".join(f"{step} {took:.1f} s" for step, took in outcome.seconds.items()))
    return Measured(outcomes, interrupted, measurer.environment, since)


def make_plan(measures: tuple[str, ...], timing: TimingFlags, *, strict: bool = False) -> Plan:
    """What the flags ask for. Raises UsageError."""
    from convbench.measures.cost.settings import CostSettings
    from convbench.measures.table import DEFAULT_TIMEOUT_S, Plan

    settings: dict[str, Any] = {"cost": CostSettings(strict)}
    latency = latency_settings(timing)
    if "latency" in measures:
        settings["latency"] = latency
        if latency.metric == "instructions":
            note("instructions are counted under valgrind, which takes some minutes a target")
    return Plan(measures, settings, DEFAULT_TIMEOUT_S if timing.timeout is None else timing.timeout)


def latency_settings(flags: TimingFlags) -> LatencySettings:
    """The timing protocol that the flags ask for. Raises UsageError."""
    from convbench.measures.latency.settings import LatencySettings

    for name, value in (("--processes", flags.processes), ("--max-time", flags.max_time), ("--timeout", flags.timeout)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive, got {shown(value)}")
    given: dict[str, Any] = {
        "processes": flags.processes,
        "max_time_s": flags.max_time,
        "timeout_s": flags.timeout,
        "rigorous": flags.rigorous,
        "metric": flags.metric,
        "allocator": flags.allocator,
        "force_threads": flags.force,
    }
    return LatencySettings(**{key: value for key, value in given.items() if value is not None})


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done: a live line in a terminal, elsewhere a line every few seconds."""
    if verbosity.quiet:
        yield lambda _: None
    elif not err().is_terminal:
        yield note if verbosity.verbose else _now_and_then()
    else:
        from rich.text import Text

        with err().status("starting", refresh_per_second=4) as status:
            yield lambda message: status.update(Text(message, no_wrap=True, overflow="ellipsis"))


def _now_and_then() -> Callable[[str], None]:
    """A function that notes a line if the last one, or the beginning, is long enough ago."""
    last = time.monotonic()

    def tell(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_S:
            last = time.monotonic()
            note(message)

    return tell


def tell_problems(outcomes: Sequence[Outcome]) -> None:
    """Print below a table what its reader must know, a line a kind; why a case failed goes to stderr as well."""
    said: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.problem is not None:
            status, reason = outcome.problem
            warn(f"{outcome.name}: {status}: {reason}")
        for message in outcome.remarks:
            said.setdefault(message, []).append(outcome.name)
    names = [outcome.name for outcome in outcomes]
    for line in once_a_kind(_spoken(message, owners, names) for message, owners in said.items()):
        print_footnote(line)


def _spoken(message: str, owners: Sequence[str], names: Sequence[str]) -> str:
    """A remark and whose it is, where that is not everyone's."""
    return message if len(owners) == len(names) else f"{', '.join(owners)}: {message}"


def save(
    paths: Sequence[Path] | None,
    measured: Measured,
    sections: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> int:
    """Write the outcomes' records, with their environment, to every ``-o`` file; 0, or 3 where one could not be."""
    if not paths:
        return 0
    from convbench.environment import completed, moment
    from convbench.report.io.document import Report

    outcomes, end = measured.outcomes, moment()
    sources = {outcome.name: outcome.source for outcome in outcomes if outcome.source is not None}
    surroundings = completed(measured.environment, measured.since or end, end, sources)
    measured_fields = [
        replace(outcome.results["erf"], label=outcome.name) for outcome in outcomes if "erf" in outcome.results
    ]
    drawn = [erf.described for erf in measured_fields]
    from convbench.records import record_of

    records = [record_of(outcome) for outcome in outcomes]
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
