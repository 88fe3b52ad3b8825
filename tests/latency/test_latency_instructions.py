"""Comparing by instructions: the same verdicts on counts, and real counts under valgrind."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convbench.case import Case
from convbench.errors import MeasurementError, UsageError
from convbench.measures.latency import (
    LatencyInterrupted,
    LatencySettings,
    compare_latency,
    instructions,
    measure_latency,
)
from convbench.measures.latency.timing.instructions import require_valgrind
from convbench.target.packed import Packed
from convbench.workers.process import WorkerCrash, WorkerTimeout

TARGETS = Path(__file__).parent.parent / "timing" / "targets.py"
COUNTED = LatencySettings(metric="instructions", timeout_s=30)


def cases(count: int) -> list[Packed]:
    return [Packed(Case("Module", size=index + 1), "module.pt") for index in range(count)]


def answering(monkeypatch: pytest.MonkeyPatch, *answers: int | BaseException) -> list[Mapping[str, Any]]:
    """Let workers count what is given, in order; the requests they get."""
    script, requests = list(answers), []

    def run(request: Mapping[str, Any], *, env: Mapping[str, str], timeout_s: float) -> dict[str, int]:
        assert env["OMP_NUM_THREADS"] == "1"
        assert timeout_s >= 20 * COUNTED.timeout_s  # valgrind is that much slower
        requests.append(request)
        answer = script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return {"instructions": answer}

    monkeypatch.setattr(instructions, "run_in_worker", run)
    return requests


def test_counts_are_compared_without_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = answering(monkeypatch, 1_000_000, 1_005_000, 1_020_000, 900_000)
    comparison = compare_latency(cases(4), 0, COUNTED)
    assert [latency.instructions for latency in comparison.latencies] == [1_000_000, 1_005_000, 1_020_000, 900_000]
    assert all(latency.median_ms is None and latency.status == "ok" for latency in comparison.latencies)
    ratios = [ratio for ratio in comparison.ratios if ratio is not None]
    assert [ratio.verdict for ratio in ratios] == ["same", "slower", "faster"]
    assert [ratio.ratio for ratio in ratios] == [1.005, 1.02, 0.9]
    assert all(ratio.low == ratio.ratio == ratio.high for ratio in ratios)
    assert {request["do"] for request in requests} == {"convbench.measures.latency.timing.instructions:run"}


def test_a_count_that_fails_has_a_status_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [WorkerTimeout("silence"), MeasurementError("valgrind gave no count"), WorkerCrash(-9, "")]
    answering(monkeypatch, 1_000, *failures, 1_500)
    comparison = compare_latency(cases(5), 0, COUNTED)
    assert [latency.status for latency in comparison.latencies] == ["ok", "timeout", "error", "oom", "ok"]
    assert [ratio is None for ratio in comparison.ratios] == [True, True, True, True, False]


def test_ctrl_c_keeps_the_counts_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1_000, KeyboardInterrupt())
    with pytest.raises(LatencyInterrupted) as caught:
        compare_latency(cases(3), 0, COUNTED)
    assert [latency.instructions for latency in caught.value.partial.latencies] == [1_000, None, None]
    assert caught.value.partial.interrupted


def test_accelerators_have_no_count() -> None:
    with pytest.raises(UsageError, match="on the CPU alone, not on cuda"):
        measure_latency(Case("MRFA", device="cuda"), COUNTED)


def test_a_missing_valgrind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MeasurementError, match="needs valgrind"):
        require_valgrind()


@pytest.mark.valgrind
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_counts_repeat() -> None:
    case = Case(f"{TARGETS}:Plain", dim=8, size=6)
    first, second = (measure_latency(case, LatencySettings(metric="instructions")) for _ in range(2))
    assert first.status == "ok", first.error
    assert first.instructions is not None
    assert second.instructions == pytest.approx(first.instructions, rel=1e-3)
    assert first.instructions > 8 * 8 * 9 * 36 / 16  # a multiply–accumulate each, sixteen at a time
