"""What counts as a change, and when a latency counts as slower."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.case import Case
from convbench.check import check
from convbench.check.check import Change, Row, Span, compare_exactly, comparisons, held_measures, judge, judge_latencies
from convbench.errors import UsageError
from convbench.measures.latency import Latency, LatencyComparison, LatencySettings, Ratio
from convbench.records import Record

FULL = Record(
    "MRFA",
    options='{"dim": 32}',
    input_shape="1x32x14x14",
    device="cpu",
    dtype="float32",
    memory_format="contiguous",
    mode="inference",
    execution="eager",
    threads=1,
    params=8408,
    trainable_params=8408,
    buffers=0,
    weight_bytes=33632,
    macs=1569568,
    algorithmic_macs=1569568,
    sampling_macs=0,
    flops=3351600,
    bytes_moved=1507552,
    peak_bytes=196736,
    activation_peak_bytes=138016,
)


def row(record: Record = FULL) -> Row:
    return Row(record, Case(record.target, options=(("dim", 32),), shapes=((1, 32, 14, 14),)))


def test_what_a_record_holds_is_what_is_measured_again() -> None:
    assert held_measures(FULL) == ("params", "cost", "memory")
    assert held_measures(Record("MRFA", macs=3)) == ("cost",)
    assert held_measures(Record("MRFA", latency_ms=3.0, erf_sigma=2.0)) == ()


@pytest.mark.parametrize("column", [name for columns in check.EXACT.values() for name in columns])
@pytest.mark.parametrize("by", [1, -1])
def test_any_figure_that_moves_by_one_either_way_is_a_change(column: str, by: int) -> None:
    before = getattr(FULL, column)
    now = "aten.foo×1" if column == "uncounted" else (before or 0) + by
    changed = dataclasses.replace(FULL, **{column: now})
    assert compare_exactly(row(), changed, ("params", "cost", "memory")) == [Change(row().label, column, before, now)]


def test_a_figure_that_an_earlier_version_did_not_count_is_known_and_uncounted_operators_always_are() -> None:
    unheld = check.unheld_columns([FULL])
    assert "saved_for_backward_bytes" in unheld
    assert not unheld & {"macs", "params", "uncounted"}
    assert "saved_for_backward_bytes" not in check.unheld_columns(
        [FULL, dataclasses.replace(FULL, saved_for_backward_bytes=0)]
    )


def test_equal_figures_are_no_change_and_times_do_not_matter() -> None:
    later = dataclasses.replace(FULL, created_at="later", torch_version="9", latency_ms=9.0, arithmetic_intensity=0.1)
    assert compare_exactly(row(), later, ("params", "cost", "memory")) == []


def test_a_default_that_changed_is_a_difference_even_where_no_figure_is() -> None:
    before = dataclasses.replace(FULL, given="{}", options='{"dim": 32, "act": "<class X at 0x12ab>"}')
    same = dataclasses.replace(before, options='{"act": "<class X at 0xff>", "dim": 32}')
    assert compare_exactly(row(before), same, ("params",)) == []
    now = dataclasses.replace(before, options='{"dim": 32, "act": "relu"}')
    (change,) = compare_exactly(row(before), now, ("params",))
    assert (change.column, change.now) == ("options", now.options)


def test_a_case_that_does_not_run_any_more_is_a_change_and_one_that_never_did_is_none() -> None:
    broken = Record("MRFA", status="error", error="cost: boom")
    assert compare_exactly(row(), broken, ("cost",)) == [Change(row().label, "status", "ok", "error: cost: boom")]
    assert compare_exactly(row(dataclasses.replace(FULL, status="error")), broken, ("cost",)) == []


@pytest.mark.parametrize(
    ("ratio", "half_width", "threshold", "verdict"),
    [
        (1.10, 0.02, 0.05, "slower"),
        (1.10, 0.09, 0.05, "slower"),  # the estimate is beyond 5%, and it is slower at all without doubt
        (1.10, 0.12, 0.05, "unclear"),
        (1.03, 0.01, 0.05, "same"),
        (1.04, 0.03, 0.05, "unclear"),
        (1.00, 0.04, 0.05, "same"),
        (0.96, 0.001, 0.05, "same"),
        (0.90, 0.02, 0.05, "faster"),
        (0.90, 0.12, 0.05, "unclear"),
        (2.00, 0.60, 0.05, "slower"),
    ],
)
def test_verdicts(ratio: float, half_width: float, threshold: float, verdict: str) -> None:
    assert judge(Span(math.log(ratio), half_width), threshold) == verdict


@given(st.floats(0.1, 10), st.floats(0.001, 1), st.floats(0.1, 10), st.floats(0.001, 1))
def test_the_speed_of_the_machine_cancels_and_errors_add_in_quadrature(
    a: float, ea: float, b: float, eb: float
) -> None:
    first, second = Span(math.log(a), ea), Span(math.log(b), eb)
    assert first.over(second).ratio == pytest.approx(a / b)
    assert first.over(second).half_width == pytest.approx(math.sqrt(ea**2 + eb**2))
    assert first.averaged(second).ratio == pytest.approx(math.sqrt(a * b))
    assert first.averaged(first).half_width == pytest.approx(ea / math.sqrt(2))
    low, high = first.bounds
    again = Span.of(first.ratio, low, high)
    assert (again.centre, again.half_width) == (pytest.approx(first.centre), pytest.approx(ea))


def timed(target: str, ms: float, **columns: Any) -> Row:
    record = dataclasses.replace(
        FULL, target=target, latency_ms=ms, latency_low_ms=ms * 0.99, latency_high_ms=ms * 1.01, **columns
    )
    return row(record)


REFERENCE = timed("Conv3x3", 2.0, baseline="Conv3x3")
COMPARED = timed("MRFA", 9.0, baseline="Conv3x3", ratio=4.0, ratio_low=3.9, ratio_high=4.1)


def test_the_ratio_that_compare_recorded_is_the_one_that_counts() -> None:
    found, left = comparisons([REFERENCE, COMPARED], None)
    assert [(item.row, item.reference) for item in found] == [(COMPARED, REFERENCE)]
    assert found[0].before.ratio == pytest.approx(4.0)
    assert found[0].before.half_width == pytest.approx(math.log(4.1 / 3.9) / 2)
    assert left == []


def test_other_latencies_are_referred_to_the_reference_that_was_named() -> None:
    found, left = comparisons([timed("Conv3x3", 2.0), timed("MRFA", 8.0)], "conv3x3")
    assert [item.before.ratio for item in found] == [pytest.approx(4.0)]
    assert found[0].before.half_width == pytest.approx(math.hypot(*[math.log(1.01 / 0.99) / 2] * 2))
    assert left == []


def test_a_reference_must_have_been_measured_under_the_same_conditions() -> None:
    other = timed("Conv3x3", 2.0, threads=2, baseline="Conv3x3")
    found, left = comparisons([other, COMPARED], None)
    assert found == []
    reason = "the baseline has no record of its reference Conv3x3 under the same conditions"
    assert left == [(COMPARED.label, reason)]


def test_the_baseline_is_the_row_that_was_timed_as_such_whatever_else_bears_its_name() -> None:
    case = Case("Conv3x3", options=(("dim", 32), ("groups", 2)), shapes=((1, 32, 14, 14),))
    wide = Row(timed("Conv3x3", 5.0, baseline="Conv3x3", ratio=2.5).record, case)
    again = timed("Conv3x3", 2.0, baseline="Conv3x3", ratio=1.01)
    halved = timed("MRFA", 1.0, dtype="bfloat16", baseline="Conv3x3", ratio=0.5)
    base = timed("Conv3x3", 2.0, baseline="Conv3x3")
    found, left = comparisons([wide, again, base, halved], None)
    assert [(item.row, item.reference) for item in found] == [(wide, base), (again, base), (halved, base)]
    assert left == []
    asked, _ = comparisons([wide, base, COMPARED], "Conv3x3(groups=2)")
    assert {(item.row.record.latency_ms, item.reference.record.latency_ms) for item in asked} == {
        (2.0, 5.0),
        (9.0, 5.0),
    }


def test_without_a_reference_nothing_is_judged_and_the_reason_is_given() -> None:
    found, left = comparisons([timed("MRFA", 8.0)], None)
    assert found == []
    assert "make the baseline with `convbench compare`" in left[0][1]
    with pytest.raises(UsageError, match="'PyConv' has no record in the baseline; there are MRFA"):
        comparisons([timed("MRFA", 8.0)], "PyConv")


class Stopwatch:
    """Stands in for `compare_latency`: gives the ratios it was told to, one call after the other."""

    def __init__(self, *ratios: float | Ratio | None) -> None:
        self.ratios = list(ratios)
        self.calls: list[int] = []

    def __call__(self, cases: Sequence[Case], baseline: int, settings: object, progress: object) -> LatencyComparison:
        assert baseline == 0
        self.calls.append(len(cases))
        given = self.ratios.pop(0)
        ratio = Ratio(given, given * 0.98, given * 1.02, "slower", 0.01) if isinstance(given, float) else given
        latency = Latency(1.0, 0.9, 1.1) if ratio is not None else Latency(status="timeout", error="it hung")
        return LatencyComparison((Latency(1.0, 0.9, 1.1), latency), (None, ratio))


@pytest.mark.parametrize(
    ("now", "verdict", "rounds"),
    [
        ([4.0], "same", 1),
        ([4.8, 4.8], "slower", 2),
        ([4.8, 4.0], "slower", 2),  # the mean is 9.5% slower, beyond doubt
        ([4.4, 3.9], "unclear", 2),  # once slower, once not: what remains is 3.6%
        ([3.2], "faster", 1),
    ],
)
def test_what_seems_slower_is_timed_twice(
    monkeypatch: pytest.MonkeyPatch, now: list[float], verdict: str, rounds: int
) -> None:
    stopwatch = Stopwatch(*now)
    monkeypatch.setattr("convbench.measures.latency.compare_latency", stopwatch)
    found, _ = comparisons([REFERENCE, COMPARED], None)
    judged = judge_latencies(found, LatencySettings(), 0.05)
    assert ([drift.verdict for drift in judged.drifts], len(stopwatch.calls), judged.failed) == ([verdict], rounds, [])


def test_without_a_threshold_nothing_is_timed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    stopwatch = Stopwatch(8.0)
    monkeypatch.setattr("convbench.measures.latency.compare_latency", stopwatch)
    (drift,) = judge_latencies(comparisons([REFERENCE, COMPARED], None)[0], LatencySettings(), None).drifts
    assert (drift.verdict, len(stopwatch.calls)) == ("slower", 1)


def test_a_verdict_that_noise_withholds_stays_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = Ratio(4.4, 4.39, 4.41, "unclear", 0.1, withheld="two instances of one block differ")
    monkeypatch.setattr("convbench.measures.latency.compare_latency", Stopwatch(noisy, noisy))
    (drift,) = judge_latencies(comparisons([REFERENCE, COMPARED], None)[0], LatencySettings(), 0.05).drifts
    assert (drift.verdict, drift.withheld) == ("unclear", "two instances of one block differ")


def test_noise_does_not_hide_what_is_far_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = Ratio(8.0, 7.0, 9.0, "unclear", 0.1, withheld="at least 40% of the samples were disturbed")
    monkeypatch.setattr("convbench.measures.latency.compare_latency", Stopwatch(noisy, noisy))
    (drift,) = judge_latencies(comparisons([REFERENCE, COMPARED], None)[0], LatencySettings(), 0.05).drifts
    assert drift.verdict == "slower"


def test_a_case_that_could_not_be_timed_comes_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convbench.measures.latency.compare_latency", Stopwatch(None))
    judged = judge_latencies(comparisons([REFERENCE, COMPARED], None)[0], LatencySettings(), 0.05)
    assert (judged.drifts, judged.failed) == ([], [(COMPARED.label, "it hung")])


def test_what_ctrl_c_left_is_named_and_what_was_judged_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(cases: Sequence[Case], *_: object) -> LatencyComparison:
        if cases[0].target == "PyConv":
            raise KeyboardInterrupt
        return Stopwatch(4.0)(cases, 0, None, None)

    monkeypatch.setattr("convbench.measures.latency.compare_latency", stop)
    second = timed("PyConv", 3.0, baseline="PyConv"), timed("MRFA", 9.0, baseline="PyConv", ratio=3.0)
    wanted = [*comparisons([REFERENCE, COMPARED], None)[0], *comparisons(second, None)[0]]
    judged = judge_latencies(wanted, LatencySettings(), 0.05)
    assert ([drift.verdict for drift in judged.drifts], judged.left, judged.interrupted) == (
        ["same"],
        ["MRFA(dim=32)@shape=1x32x14x14"],
        True,
    )


def test_once_slower_is_no_verdict_where_ctrl_c_stopped_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([4.8])

    def once(cases: Sequence[Case], *_: object) -> LatencyComparison:
        for ratio in looks:
            return Stopwatch(ratio)(cases, 0, None, None)
        raise KeyboardInterrupt

    monkeypatch.setattr("convbench.measures.latency.compare_latency", once)
    judged = judge_latencies(comparisons([REFERENCE, COMPARED], None)[0], LatencySettings(), 0.05)
    assert (judged.drifts, judged.left, judged.interrupted) == ([], [COMPARED.label], True)


def test_labels_are_text_and_never_markup() -> None:
    from rich.console import Console

    from convbench.report.tables.check import change_table

    console = Console(width=80)
    with console.capture() as shown:
        console.print(change_table([Change("[/x] :smile: [red]r[/red]", "macs", 1, 2)]))
    assert "[/x] :smile: [red]r[/red]" in shown.get()
