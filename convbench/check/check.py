"""Whether what a baseline recorded still holds: cost and memory exactly, latency as a ratio to a reference block.

A time is never held against a time of another day or machine. What is compared is the ratio to a reference that was
timed in the same rounds, then and now, so that the speed of the machine cancels.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convbench.case import CONDITIONS, Case
from convbench.check.recorded import cases_of
from convbench.errors import UsageError
from convbench.records import EXACT, Record, column_types
from convbench.reference import says
from convbench.rows import options_of
from convbench.sweeps.local import LocalRunner
from convbench.sweeps.store import Store
from convbench.sweeps.study import DEFAULT_TIMEOUT_S
from convbench.sweeps.sweep import Tell, carry_out
from convbench.sweeps.task import make_task

if TYPE_CHECKING:
    from convbench.measures.latency import LatencySettings, Ratio

Verdict = Literal["slower", "faster", "same", "unclear"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a default that cannot be written down
_SAME_CONDITIONS = ("dtype", *(name for name, item in CONDITIONS.items() if item.column == name != "target"))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a baseline with the case that it recorded."""

    record: Record
    case: Case

    @property
    def label(self) -> str:
        """The case in a few words."""
        return self.case.label


@dataclass(frozen=True, slots=True)
class Change:
    """A column that is not what it was. ``status`` is one too: a case that does not run any more."""

    label: str
    column: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Span:
    """A ratio with its 95% interval, as logarithms: centre ± half_width."""

    centre: float
    half_width: float

    @classmethod
    def of(cls, ratio: float, low: float | None, high: float | None) -> Span:
        """From the ratio itself and the bounds of its interval, which reaches any distance where it is not known."""
        return cls(math.log(ratio), math.inf if low is None or high is None else math.log(high / low) / 2)

    def over(self, other: Span) -> Span:
        """The quotient of two that were measured independently."""
        return Span(self.centre - other.centre, math.hypot(self.half_width, other.half_width))

    def averaged(self, other: Span) -> Span:
        """The geometric mean of two that were measured independently."""
        return Span((self.centre + other.centre) / 2, math.hypot(self.half_width, other.half_width) / 2)

    @property
    def ratio(self) -> float:
        """The ratio itself."""
        return math.exp(self.centre)

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of the ratio itself."""
        return math.exp(self.centre - self.half_width), math.exp(self.centre + self.half_width)


@dataclass(frozen=True, slots=True)
class Drift:
    """Latency over the reference's, then and now, and how the one compares to the other. ``key``: of the case.

    verdict: ``slower`` and ``faster`` where the change is at least the threshold, and its interval leaves no doubt that
    there is one; ``same`` where the interval lies within the threshold; else ``unclear``. margin: that threshold.
    withheld: the noise that leaves a verdict only to changes far beyond it.
    """

    key: str
    label: str
    reference: str
    before: Span
    now: Span
    verdict: Verdict
    margin: float
    withheld: str | None = None

    @property
    def change(self) -> Span:
        """Now over then."""
        return self.now.over(self.before)


@dataclass(slots=True)
class Found:
    """What a check has found so far.

    unheld: figures of today that no record of the baseline holds, and that are not compared.
    failed: cases whose latency could not be judged, with the reason. left: cases that Ctrl-C kept from being measured.
    now: the records of today.
    """

    changes: list[Change] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unheld: list[str] = field(default_factory=list)
    now: list[Record] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A latency that can be judged: the case, the reference, and the ratio in the baseline."""

    row: Row
    reference: Row
    before: Span


def rows_of(records: Sequence[Record], origin: str, *, trust: bool = False) -> list[Row]:
    """The rows that hold something to check, with their cases.

    trust: whether a row may name what is not known to be a module; see `convbench.target.vetting`.
    Raises UsageError naming the row whose target is gone or none for data to name, whose device is not here, or that
    says too little.
    """
    named = [
        (f"{origin}, record {number}", record)
        for number, record in enumerate(records, start=1)
        if held_measures(record) or record.latency_ms is not None
    ]
    if not named:
        raise UsageError(f"{origin} holds no figure that can be checked: no record of it was measured")
    return [Row(record, case) for (_, record), case in zip(named, cases_of(named, trust=trust), strict=True)]


def held_measures(record: Record) -> tuple[str, ...]:
    """The exact measures that ``record`` holds figures of."""
    return tuple(
        measure for measure, columns in EXACT.items() if any(getattr(record, name) is not None for name in columns)
    )


def measure_exactly(
    rows: Sequence[Row], measures: Sequence[str], timeout_s: float = DEFAULT_TIMEOUT_S, tell: Tell = lambda _: None
) -> Found:
    """Measure again what the rows hold of ``measures``, and give what is not as it was."""
    wanted = {
        index: make_task(row.case, held)
        for index, row in enumerate(rows)
        if (held := tuple(name for name in held_measures(row.record) if name in measures))
    }
    tasks = list({task.key: task for task in wanted.values()}.values())
    with tempfile.TemporaryDirectory(prefix="convbench-check-") as folder, Store(Path(folder) / "now.jsonl") as store:
        result = carry_out(tasks, store, LocalRunner(timeout_s), tasks, tell)
    now = {entry.key: entry.record for entry in result.entries}
    done = [(rows[index], task) for index, task in wanted.items() if task.key in now]
    changes = [change for row, task in done for change in compare_exactly(row, now[task.key], task.measures)]
    unheld = unheld_columns([row.record for row in rows])
    return Found(
        [change for change in changes if change.column not in unheld],
        unheld=sorted({change.column for change in changes} & unheld),
        left=[rows[index].label for index, task in wanted.items() if task.key not in now],
        now=result.records,
        interrupted=result.interrupted,
    )


def unheld_columns(records: Sequence[Record]) -> set[str]:
    """The exact figures that no record of a baseline holds: an earlier version did not count them.

    A text is left out of these: no uncounted operators is what a baseline may well say.
    """
    names = {name for columns in EXACT.values() for name in columns if column_types()[name] is not str}
    return {name for name in names if all(getattr(record, name) is None for record in records)}


def compare_exactly(row: Row, now: Record, measures: Sequence[str]) -> list[Change]:
    """The columns of ``measures`` that differ, and the effective options; of a case that failed, that it did."""
    if now.status != "ok":
        before = row.record.status
        return [] if before == now.status else [Change(row.label, "status", before, f"{now.status}: {now.error}")]
    names = [name for measure in measures for name in EXACT[measure]]
    return [
        *_changed_options(row, now),
        *(
            Change(row.label, name, before, after)
            for name in names
            if (before := getattr(row.record, name)) != (after := getattr(now, name))
        ),
    ]


def _changed_options(row: Row, now: Record) -> list[Change]:
    """What the options as given come to now, and did not then: a default of the target has changed."""
    if row.record.given is None:
        return []
    before, after = (_ADDRESS.sub("", record.options or "{}") for record in (row.record, now))
    return [] if options_of(before) == options_of(after) else [Change(row.label, "options", before, after)]


def comparisons(rows: Sequence[Row], reference: str | None) -> tuple[list[Comparison], list[tuple[str, str]]]:
    """The latencies that can be judged, and those that cannot with the reason.

    A ratio that ``convbench compare`` recorded is taken with its baseline. Of other rows the ratio is that of their
    latency to ``reference``'s, a target that has rows of its own.
    Raises UsageError for a reference without rows.
    """
    if reference is not None and not any(_is(row, reference) for row in rows):
        names = ", ".join(dict.fromkeys(row.record.target for row in rows))
        raise UsageError(f"--reference {reference!r} has no record in the baseline; there are {names}")
    found: list[Comparison] = []
    left: list[tuple[str, str]] = []
    for row in rows:
        if row.record.latency_ms is None:
            continue
        name = reference or row.record.baseline
        other = None if name is None else _reference_row(row, name, rows, reference)
        if name is None:
            left.append((row.label, "it has no ratio to a reference: make the baseline with `convbench compare`"))
        elif other is None:
            left.append((row.label, f"the baseline has no record of its reference {name} under the same conditions"))
        elif other is not row:
            found.append(Comparison(row, other, _recorded_ratio(row.record, other.record, reference)))
    return found, left


def _recorded_ratio(record: Record, reference: Record, asked: str | None) -> Span:
    if asked is None and record.ratio is not None:
        return Span.of(record.ratio, record.ratio_low or record.ratio, record.ratio_high or record.ratio)
    return _latency(record).over(_latency(reference))


def _latency(record: Record) -> Span:
    assert record.latency_ms is not None
    return Span.of(
        record.latency_ms, record.latency_low_ms or record.latency_ms, record.latency_high_ms or record.latency_ms
    )


def _reference_row(row: Row, name: str, rows: Sequence[Row], asked: str | None) -> Row | None:
    """The record of the reference: the baseline that ``row`` was timed with, or one under the same conditions.

    Several are called ``name`` where a file joins comparisons, and where a target stands in it with several options:
    then it is the one that is most like ``row``, and says no more than its name.
    """
    timed = [other for other in rows if other.record.latency_ms is not None]
    if asked is None:
        found = [other for other in timed if other.record.baseline == name and other.record.ratio is None]
        found = [other for other in found if _differences(row, other, ("device", "threads")) == 0]
        if found:
            return min(found, key=lambda other: _differences(row, other, ("input_shape", *_SAME_CONDITIONS)))
    found = [other for other in timed if _is(other, name) and _differences(row, other, _SAME_CONDITIONS) == 0]
    said = [len(other.case.options) + len(other.case.transforms) for other in found]
    found = [other for other, count in zip(found, said, strict=True) if count == min(said)]
    return min(found, key=lambda other: _differences(row, other, ("input_shape",)), default=None)


def _differences(one: Row, other: Row, names: Sequence[str]) -> int:
    return sum(getattr(one.record, name) != getattr(other.record, name) for name in names)


def _is(row: Row, name: str) -> bool:
    """Whether ``name``, as tables print it or as it was typed, is the row's target with all that it says."""
    try:
        return says(row.case, name.rpartition(" #")[0] or name)
    except UsageError:
        return name.lower() == row.record.target.lower()


def judge_latencies(
    wanted: Sequence[Comparison],
    settings: LatencySettings,
    threshold: float | None,
    progress: Callable[[str], None] = lambda _: None,
) -> Found:
    """Time every case beside its reference and judge the change; those that could not be timed come with the reason.

    threshold: the share by which a case may be slower; None means the margin of the comparison. With a threshold,
    whatever seems slower is timed a second time, and judged by the mean of both.
    """
    found = _judge(wanted, settings, threshold, progress, {})
    if threshold is None or found.interrupted:
        return found
    suspects = {drift.key: drift for drift in found.drifts if drift.change.centre > math.log1p(threshold)}
    again = [comparison for comparison in wanted if comparison.row.case.key in suspects]
    if not again:
        return found
    progress(f"timing {len(again)} cases a second time")
    confirmed = _judge(again, settings, threshold, progress, suspects)
    second = {drift.key: drift for drift in confirmed.drifts}
    unsure = set(suspects) - set(second) if confirmed.interrupted else set()  # once slower is no verdict yet
    drifts = [second.get(drift.key, drift) for drift in found.drifts if drift.key not in unsure]
    return replace(found, drifts=drifts, left=confirmed.left, interrupted=confirmed.interrupted)


def _judge(
    wanted: Sequence[Comparison],
    settings: LatencySettings,
    threshold: float | None,
    progress: Callable[[str], None],
    earlier: dict[str, Drift],
) -> Found:
    from convbench.measures.latency import compare_latency

    found = Found()
    groups: dict[str, list[Comparison]] = {}
    for comparison in wanted:
        groups.setdefault(comparison.reference.case.key, []).append(comparison)
    for group in groups.values():
        cases = [group[0].reference.case, *(comparison.row.case for comparison in group)]
        try:
            if found.interrupted:
                raise KeyboardInterrupt
            measured = compare_latency(cases, 0, settings, lambda state: progress(str(state)))
        except KeyboardInterrupt:
            found.interrupted = True
            found.left += [comparison.row.label for comparison in group]
            continue
        for comparison, latency, ratio in zip(group, measured.latencies[1:], measured.ratios[1:], strict=True):
            if ratio is None:
                found.failed.append(
                    (comparison.row.label, latency.error or measured.latencies[0].error or latency.status)
                )
            else:
                found.drifts.append(_drift(comparison, ratio, threshold, earlier.get(comparison.row.case.key)))
    return found


def _drift(comparison: Comparison, ratio: Ratio, threshold: float | None, earlier: Drift | None) -> Drift:
    now = Span.of(ratio.ratio, ratio.low, ratio.high)
    if earlier is not None:
        now = now.averaged(earlier.now)
    limit = ratio.margin if threshold is None else threshold
    change = now.over(comparison.before)
    verdict: Verdict = judge_disturbed(change, limit, ratio.margin) if ratio.withheld else judge(change, limit)
    row = comparison.row
    return Drift(
        row.case.key, row.label, comparison.reference.label, comparison.before, now, verdict, limit, ratio.withheld
    )


def judge(change: Span, threshold: float) -> Verdict:
    """The verdict on a change; see `Drift`."""
    limit = math.log1p(threshold)
    low, high = change.centre - change.half_width, change.centre + change.half_width
    if change.centre > limit and low > 0:
        return "slower"
    if change.centre < -limit and high < 0:
        return "faster"
    return "same" if -limit <= low and high <= limit else "unclear"


def judge_disturbed(change: Span, threshold: float, margin: float) -> Verdict:
    """The verdict where noise withholds that of the comparison: only on what lies, interval and all, beyond the
    threshold and beyond what two instances of one block differed by (``margin``)."""
    limit = math.log1p(threshold) + math.log1p(margin)
    if change.centre - change.half_width > limit:
        return "slower"
    return "faster" if change.centre + change.half_width < -limit else "unclear"
