"""Comparing targets by the instructions they execute instead of by time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from convbench.case import Case
from convbench.errors import CaseTimeout, ConvbenchError, UsageError
from convbench.measures.latency.result import Latency, LatencyComparison, LatencyInterrupted, Ratio
from convbench.measures.latency.session import Tell
from convbench.measures.latency.settings import LatencySettings, Progress
from convbench.statistics import Verdict
from convbench.target.packed import Packed, pack
from convbench.workers.environment import timing_environment
from convbench.workers.process import WorkerCrash, run_in_worker

_VALGRIND_SLOWDOWN = 20  # at least; importing torch alone takes a minute
_NOTE = "instructions as valgrind's processor executes them: without AVX-512, and without waiting for memory"


def compare_instructions(
    cases: Sequence[Case | Packed], baseline: int, settings: LatencySettings, tell: Tell
) -> LatencyComparison:
    """One count a case, each in a fresh process under valgrind; ratios have no interval, since counts repeat.

    Raises UsageError for a device other than the CPU.
    """
    latencies = [Latency(status="interrupted", error="interrupted before its count")] * len(cases)
    try:
        with TemporaryDirectory(prefix="convbench-") as folder:
            packed = [pack(case, Path(folder)) for case in cases]
            device = packed[0].case.device
            if device != "cpu":
                raise UsageError(f"instructions are counted on the CPU alone, not on {device}; use --metric time")
            for index, one in enumerate(packed):
                tell(Progress(index + 1, len(cases), "counting instructions of", one.case.label))
                latencies[index] = _count(one, settings, folder)
    except KeyboardInterrupt:
        raise LatencyInterrupted(_report(latencies, baseline, settings)) from None
    return _report(latencies, baseline, settings)


def _count(packed: Packed, settings: LatencySettings, folder: str) -> Latency:
    request = {"do": "convbench.measures.latency.timing.instructions:run", "packed": packed.to_json()}
    # A count has no replicates to vary the pad over. Valgrind leaves files where it is killed.
    environment = {**timing_environment(packed.case.threads), "CONVBENCH_PAD": "", "TMPDIR": folder}
    try:
        counted = run_in_worker(request, env=environment, timeout_s=_VALGRIND_SLOWDOWN * settings.timeout_s)
    except CaseTimeout as error:
        return Latency(status="timeout", error=str(error))
    except UsageError:
        raise
    except ConvbenchError as error:
        out_of_memory = isinstance(error, WorkerCrash) and error.killed
        return Latency(status="oom" if out_of_memory else "error", error=str(error))
    return Latency(instructions=counted["instructions"], processes=1, notes=(_NOTE,))


def _report(latencies: Sequence[Latency], baseline: int, settings: LatencySettings) -> LatencyComparison:
    ratios = tuple(
        None if index == baseline else _ratio(latency.instructions, latencies[baseline].instructions, settings.margin)
        for index, latency in enumerate(latencies)
    )
    return LatencyComparison(tuple(latencies), ratios, baseline)


def _ratio(count: int | None, baseline: int | None, margin: float) -> Ratio | None:
    if count is None or not baseline:
        return None
    ratio = count / baseline
    beyond: Verdict = "slower" if ratio > 1 + margin else "faster" if ratio < 1 / (1 + margin) else "same"
    return Ratio(ratio, ratio, ratio, beyond, margin)
