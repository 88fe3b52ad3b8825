"""Verdicts on machines whose noise is known; `tests.benchmarks.latency_simulation` tells the rates of many trials."""

from __future__ import annotations

import pytest

from tests.benchmarks.latency_simulation import CONDITIONS, Machine, summary, trial


@pytest.mark.parametrize("condition", ["quiet", "load midway", "quota 50%"])
def test_equals_are_not_told_apart_and_ten_percent_is_found(condition: str) -> None:
    row = summary(condition, trials=1, seed=3)
    assert (row["A/A false"], row["wrong"], row["+10%"]) == (0.0, 0.0, 1.0)


def test_processes_that_load_disturbed_are_replaced_once_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONDITIONS, "quiet", lambda rng: Machine(rng, slices=(1e-3, 6e-3), busy_until=17.0))  # type: ignore[arg-type]
    comparison, _ = trial("quiet", 0)
    assert any("processes left out" in note for note in comparison.notes)
    assert comparison.latencies[0].processes == 5
    assert comparison.latencies[0].noise == "quiet"
