"""Which block to choose: budgets, what is best, and why the rest is left out."""

from __future__ import annotations

import pytest

from convbench.errors import UsageError
from convbench.plugging.choose import Budget, Candidate, Ratios, _judged


def candidate(name: str, macs: float | None, sigma: float | None, why: str = "") -> Candidate:
    return Candidate(name, 1, 1, Ratios(macs=macs), sigma, why=why)


def judged(*candidates: Candidate) -> dict[str, tuple[bool, str]]:
    return {one.block: (one.is_best, one.why) for one in _judged(candidates, "macs")}


def test_best_is_what_no_other_beats_in_both() -> None:
    found = judged(
        candidate("host", 1.0, 10.0),
        candidate("cheap", 0.5, 8.0),
        candidate("wide", 2.0, 20.0),
        candidate("worse", 2.5, 15.0),
        candidate("dear", 1.0, 9.0),
    )
    assert [name for name, (best, _) in found.items() if best] == ["cheap", "host", "wide"]
    assert found["worse"] == (False, "wide costs no more and sees no less")
    assert found["dear"] == (False, "host costs no more and sees no less")


def test_equal_ones_are_both_best_and_one_equal_axis_decides_by_the_other() -> None:
    assert judged(candidate("a", 1.0, 5.0), candidate("b", 1.0, 5.0)) == {"a": (True, ""), "b": (True, "")}
    assert judged(candidate("a", 1.0, 5.0), candidate("b", 1.0, 6.0))["a"][0] is False
    assert judged(candidate("a", 1.0, 5.0), candidate("b", 0.9, 5.0))["a"][0] is False


def test_what_is_left_out_beats_nothing_and_comes_last() -> None:
    found = judged(
        candidate("out", 0.1, 99.0, "over the budget"), candidate("in", 1.0, 5.0), candidate("blind", 0.1, None)
    )
    assert list(found) == ["in", "out", "blind"]
    assert found["in"] == (True, "")
    assert found["out"] == (False, "over the budget")
    assert found["blind"][0] is False


@pytest.mark.parametrize(
    ("budget", "ratios", "expected"),
    [
        (Budget(), Ratios(9.0, 9.0, 9.0, 9.0), None),
        (Budget(macs=1.5), Ratios(macs=1.5), None),
        (Budget(macs=1.5), Ratios(macs=1.6), "MACs ×1.600, over the budget of ×1.5"),
        (Budget(params=1, macs=1), Ratios(2.0, 3.0), "parameters ×2.000, over the budget of ×1"),
        (Budget(memory=0.5), Ratios(memory=0.75), "peak memory ×0.750, over the budget of ×0.5"),
        (Budget(latency=2.0), Ratios(latency=2.5), "latency ×2.500, over the budget of ×2"),
        (Budget(latency=2.0), Ratios(), None),
    ],
)
def test_the_limit_that_is_exceeded_is_named(budget: Budget, ratios: Ratios, expected: str | None) -> None:
    assert budget.broken_by(ratios) == expected


@pytest.mark.parametrize("most", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_positive_number(most: float) -> None:
    with pytest.raises(UsageError, match="--max-macs is a multiple of the host's own, and positive"):
        Budget(macs=most)
