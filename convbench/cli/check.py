"""``convbench check``: does a saved baseline still hold?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.cli.console import fail, note, out, print_table, warn
from convbench.cli.measuring import command, latency_settings, progress
from convbench.cli.options import Outputs, TimingFlags, Trust, takes_flags
from convbench.cli.saving import save_report
from convbench.errors import UsageError, nearest
from convbench.report.io.document import Report
from convbench.report.io.formats import check_outputs

if TYPE_CHECKING:
    from convbench.check.check import Change, Drift, Found
    from convbench.records import Record

_MEASURES: tuple[str, ...] = ("params", "cost", "memory", "latency")

_EXAMPLES = """\b
Examples:
  convbench compare Conv3x3 MRFA PyConv --dim 64 -o baseline.csv
  convbench check baseline.csv
  convbench check baseline.csv --measure cost --measure memory
  convbench check baseline.csv --fail-slower 5% -o findings.md

\b
Exit code: 0 if the baseline holds, 1 if cost or memory changed in any figure, a case fails that did not,
or, with --fail-slower, a case became that much slower relative to the reference; 2 for a wrong request;
130 if it was interrupted: what was not measured is said.
"""


@app.command(epilog=_EXAMPLES)
@takes_flags
def check(
    baseline: Annotated[
        Path,
        typer.Argument(
            show_default=False, help="Records that convbench saved: .csv, .json, .parquet, or the .jsonl of a sweep."
        ),
    ],
    timing: TimingFlags,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            metavar="NAME",
            help="params, cost, memory or latency; repeatable.  [default: what the baseline holds]",
        ),
    ] = None,
    fail_slower: Annotated[
        str | None,
        typer.Option("--fail-slower", metavar="5%", help="Fail when a case is this much slower.", show_default=False),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="TARGET",
            help="The block of the baseline that latencies refer to.  [default: that of `compare`]",
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    output: Outputs = None,
) -> None:
    """Measure a baseline's cases again, and fail when they are not what they were.

    Parameters, MACs, FLOPs, bytes and memory are compared exactly. Latency is compared as the ratio to a reference
    block timed call by call in the same rounds, in the baseline and now, so that the speed of the machine cancels; it
    is shown, and fails the check only under --fail-slower, where the estimate is beyond the threshold and its interval
    leaves no doubt that the case became slower. What seems slower is timed twice.
    """
    from convbench.check.check import comparisons, held_measures, judge_latencies, measure_exactly, rows_of
    from convbench.sweeps.study import DEFAULT_TIMEOUT_S
    from convbench.workers.device_lock import device_lock, physical_device

    output = check_outputs(output or ())
    threshold = None if fail_slower is None else _share(fail_slower)
    measures = _measures(measure)
    records = _load(baseline)
    try:
        rows = rows_of(records, str(baseline), trust=trust)
    except KeyboardInterrupt:
        warn("interrupted: nothing was measured, and so nothing checked")
        raise typer.Exit(130) from None
    wanted, left = comparisons(rows, reference) if "latency" in measures else ([], [])
    _require_judgeable(threshold, measures, wanted, left)
    settings = latency_settings(timing)
    timeout_s = DEFAULT_TIMEOUT_S if timing.timeout is None else timing.timeout
    with progress() as tell:
        found = measure_exactly(rows, measures, timeout_s, lambda state: tell(f"{state.done}/{state.total} cases"))
        if found.interrupted:
            found.left += [f"{comparison.row.label} (latency)" for comparison in wanted]
        else:
            with ExitStack() as held:
                for device in sorted({physical_device(comparison.row.case.device) for comparison in wanted}):
                    held.enter_context(device_lock(device, note))
                judged = judge_latencies(wanted, settings, threshold, tell)
            found = replace(judged, changes=found.changes, unheld=found.unheld, now=found.now)
    saved = _save(output, found.changes, found.drifts)
    _print(found, sum(1 for row in rows if set(held_measures(row.record)) & set(measures)))
    if found.unheld:
        note(f"no record of the baseline holds these figures, so they are not compared: {', '.join(found.unheld)}")
    _tell_versions(records, found.now)
    for label, reason in [*left, *found.failed]:
        warn(f"{label}: latency not checked: {reason}")
    if found.interrupted:
        warn(f"interrupted: not measured, and so not checked: {'; '.join(found.left)}")
    code = _exit_code(found.changes, found.drifts, found.failed, threshold)
    raise typer.Exit(130 if found.interrupted else code or saved)


def _share(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--fail-slower {text!r}: write a percentage above zero, such as 5%")
    return float(found[1]) / 100


def _measures(names: Sequence[str] | None) -> tuple[str, ...]:
    for name in names or ():
        if name not in _MEASURES:
            raise UsageError(f"measure {name!r} is not one of {', '.join(_MEASURES)}.{nearest(name, _MEASURES)}")
    return tuple(name for name in _MEASURES if not names or name in names)


def _load(path: Path) -> Sequence[Record]:
    from convbench.report.io.load import load

    found = load(path)
    if found.damage:
        raise UsageError(f"{found.damage[0]}; a baseline must be whole: sweep again, or repair the line")
    return found.records


def _require_judgeable(
    threshold: float | None, measures: Sequence[str], wanted: Sequence[object], left: Sequence[tuple[str, str]]
) -> None:
    """A threshold that nothing could ever exceed would be a check that cannot fail."""
    if threshold is None or wanted:
        return
    if "latency" not in measures:
        raise UsageError("--fail-slower judges latency: add --measure latency, or drop it")
    reason = f": {left[0][0]}: {left[0][1]}" if left else ", which holds no latency beside a reference's"
    raise UsageError(
        f"--fail-slower has nothing to judge in this baseline{reason}. Make it with `convbench compare … -o`, "
        "or name one of its targets by --reference"
    )


def _print(found: Found, exact: int) -> None:
    """``exact``: how many cases have figures that are compared exactly."""
    from convbench.report.tables.check import change_table, drift_table

    if found.changes:
        print_table(change_table(found.changes))
    elif exact and not found.interrupted:
        out().print(f"{exact} {'case' if exact == 1 else 'cases'}: every figure is that of the baseline")
    if found.drifts:
        print_table(drift_table(found.drifts))


def _tell_versions(before: Sequence[Record], now: Sequence[Record]) -> None:
    """Say what else is not the same, since it may be the reason."""
    for name, what in (("torch_version", "torch"), ("convbench_version", "convbench")):
        then = {getattr(record, name) for record in before} - {None}
        today = {getattr(record, name) for record in now} - {None}
        if today and then != today:
            note(
                f"the baseline was measured with {what} {', '.join(sorted(then))}, this with {', '.join(sorted(today))}"
            )


def _save(paths: Sequence[Path], changes: Sequence[Change], drifts: Sequence[Drift]) -> int:
    from convbench.report.tables.check import check_rows

    if not paths:
        return 0
    from convbench.environment import environment

    findings = {"findings": check_rows(changes, drifts)}
    return save_report(paths, Report((), environment().to_json(), findings, command()))


def _exit_code(
    changes: Sequence[Change], drifts: Sequence[Drift], failed: Sequence[tuple[str, str]], threshold: float | None
) -> int:
    if changes:
        fail(f"{len(changes)} {'figure differs' if len(changes) == 1 else 'figures differ'} from the baseline")
    if threshold is None:
        return 1 if changes or failed else 0
    slower = [drift.label for drift in drifts if drift.verdict == "slower"]
    for drift in drifts:
        if drift.verdict == "unclear":
            warn(f"{drift.label}: {drift.withheld or 'too noisy to say whether it became slower'}; not failed for it")
    if slower:
        fail(f"slower than in the baseline by more than {100 * threshold:g}%: {', '.join(slower)}")
    return 1 if changes or slower or failed else 0
