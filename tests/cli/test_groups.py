"""What one ``compare`` times beside what, where batches, threads or executions vary."""

from __future__ import annotations

from typing import Any

import pytest

from convbench.case import Case
from convbench.cli.groups import Group, carry_out_groups, groups_of, read_grid
from convbench.errors import ShapeError, UsageError
from convbench.measures.carry_out import Interrupted
from convbench.measures.latency import Latency
from convbench.measures.outcome import Outcome
from convbench.report.tables.scaling import scaling_table

CASES = [Case("MRFA"), Case("PyConv")]


def test_flags_of_several_values() -> None:
    texts = {"batches": ["1, 8,8", "32"], "threads": ["2"], "executions": ["eager,onnxruntime"]}
    assert read_grid(texts) == {"batch": [1, 8, 32], "threads": [2], "execution": ["eager", "onnxruntime"]}
    assert read_grid({}) == {}


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ({"batches": ["1,0"]}, "--batch: batch must be a whole number of at least 1, got 0"),
        ({"threads": ["one"]}, "--threads: "),
        ({"executions": ["onnxrt"]}, "Did you mean 'onnxruntime'"),
    ],
)
def test_a_value_that_no_case_has_is_told_with_its_flag(texts: dict[str, list[str]], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        read_grid(texts)


def told(groups: list[Group]) -> list[tuple[list[tuple[str, int, int, str]], int]]:
    return [
        ([(case.target, case.batch, case.threads, case.execution) for case in group.cases], group.baseline)
        for group in groups
    ]


def test_targets_are_held_against_each_other_at_every_batch_and_thread_count() -> None:
    found = told(groups_of(CASES, {"batch": [1, 8], "threads": [1, 2]}, "pyconv"))
    assert found == [
        ([("MRFA", batch, threads, "eager"), ("PyConv", batch, threads, "eager")], 1)
        for batch, threads in ((1, 1), (1, 2), (8, 1), (8, 2))
    ]


def test_executions_are_held_against_the_targets_own_first() -> None:
    found = told(groups_of(CASES, {"execution": ["eager", "openvino"]}, None))
    assert found == [
        ([("MRFA", 1, 1, "eager"), ("MRFA", 1, 1, "openvino")], 0),
        ([("PyConv", 1, 1, "eager"), ("PyConv", 1, 1, "openvino")], 0),
    ]


def test_a_named_baseline_takes_all_executions_into_the_same_rounds() -> None:
    (group,) = groups_of(CASES, {"execution": ["eager", "openvino"]}, "PyConv")
    assert [case.execution for case in group.cases] == ["eager", "openvino"] * 2
    assert (group.cases[group.baseline].target, group.cases[group.baseline].execution) == ("PyConv", "eager")


def test_a_shape_says_its_batch_already() -> None:
    with pytest.raises(ShapeError):
        groups_of([Case("MRFA", shapes=((1, 64, 8, 8),))], {"batch": [1, 8]}, None)


class Measures:
    """Fails as it is told to, else gives outcomes."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends = list(ends)

    def carry_out(self, cases: Any, plan: Any, baseline: int, note: Any) -> list[Outcome]:
        end = self.ends.pop(0)
        if end is not None:
            raise end
        return [Outcome(case) for case in cases]


GROUPS = groups_of([Case("MRFA")], {"threads": [1, 2, 64]}, None)


def carried_out(*ends: BaseException | None) -> list[Outcome]:
    measurer: Any = Measures(*ends)
    plan: Any = None
    return carry_out_groups(measurer, GROUPS, plan, lambda _: None)


def test_a_group_that_cannot_be_measured_is_rows_that_say_why() -> None:
    found = carried_out(None, None, UsageError("64 threads need 64 idle cores"))
    assert [outcome.problem for outcome in found[:2]] == [None, None]
    assert found[2].problem is not None
    assert "64 idle cores" in found[2].problem[1]


def test_what_cannot_be_met_from_the_first_is_an_error() -> None:
    with pytest.raises(UsageError, match="idle cores"):
        carried_out(UsageError("1 threads need 1 idle cores"))


def test_an_interruption_keeps_the_groups_before() -> None:
    with pytest.raises(Interrupted) as caught:
        carried_out(None, Interrupted([Outcome(Case("MRFA", threads=2))]))
    assert [outcome.case.threads for outcome in caught.value.outcomes] == [1, 2]


def outcome(batch: int, threads: int, rate: float | None, execution: Any = "eager") -> Outcome:
    made = Outcome(Case("MRFA", batch=batch, threads=threads, execution=execution))
    if rate is not None:
        made.results["latency"] = Latency(median_ms=1.0, throughput_per_s=rate, noise="quiet")
    return made


def test_the_best_batch_and_the_speed_up_over_threads() -> None:
    rates = {(1, 1): 300.0, (8, 1): 480.0, (32, 1): 400.0, (1, 2): 330.0, (8, 2): 840.0, (32, 2): None}
    table = scaling_table([outcome(batch, threads, rate) for (batch, threads), rate in rates.items()])
    assert table is not None
    row = {str(column.header): next(iter(column.cells)) for column in table.columns}
    assert (row["best batch"], row["speed-up, 2 threads"]) == ("8", "1.75×")
    assert (row["batch 8, 2 threads"], row["batch 32, 2 threads"]) == ("840", "–")
    assert len(row) == 1 + 6 + 2


def test_executions_have_rows_of_their_own_and_one_condition_no_table() -> None:
    assert scaling_table([outcome(1, 1, 300.0), outcome(1, 1, 400.0, "openvino")]) is None
    both = [outcome(batch, 1, 100.0 * batch, one) for batch in (1, 8) for one in ("eager", "openvino")]
    table = scaling_table(both)
    assert table is not None
    assert [str(cell) for cell in table.columns[0].cells] == ["MRFA", "MRFA openvino"]
    assert list(table.columns[3].cells) == ["8", "8"]
