"""Measuring the latency of one case, or of several against each other."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from convbench import errors
from convbench.case import Case
from convbench.errors import UsageError
from convbench.measures.latency.combine import comparison_of
from convbench.measures.latency.instructions import compare_instructions
from convbench.measures.latency.judge import Gathered
from convbench.measures.latency.pool import Pool
from convbench.measures.latency.result import Latency, LatencyComparison, LatencyInterrupted
from convbench.measures.latency.session import Session, Tell
from convbench.measures.latency.settings import COMPARE, PROFILE, Effort, LatencySettings, Progress
from convbench.registry import resolve
from convbench.target.packed import Packed

_BUSY_FOR_S = 0.2


def _silent(_: Progress) -> None: ...


def start_workers(case: Case, settings: LatencySettings | None = None) -> AbstractContextManager[Pool | None]:
    """The processes that timing ``case`` will use, where it uses any: they come up while the caller does other things.

    A context manager; give what it gives to `measure_latency` or `run` as ``pool``.
    """
    settings = settings or LatencySettings()
    if settings.metric != "time" or case.device_type == "meta":
        return nullcontext()
    return Pool(case.threads, settings.replicates(PROFILE), settings.allocator)


def measure_latency(
    case: Case | Packed, settings: LatencySettings | None = None, progress: Tell = _silent, pool: Pool | None = None
) -> Latency:
    """Time of one call of ``case``, from fresh processes that time nothing else but a second instance of it.

    A target that fails while it is timed gives a `Latency` whose ``status`` and ``error`` say why.
    Raises UsageError for a target that is unknown, takes other options, or cannot be built, for a device that computes
    nothing, and for more threads than there are idle cores; LatencyInterrupted on Ctrl-C.
    """
    comparison = run([case], 0, settings, progress, pool)
    (latency,) = comparison.latencies
    return replace(latency, notes=(*latency.notes, *comparison.notes))


def compare_latency(
    cases: Sequence[Case | Packed],
    baseline: int = 0,
    settings: LatencySettings | None = None,
    progress: Tell | None = None,
) -> LatencyComparison:
    """Latencies of ``cases``, timed in the same rounds, and their ratios to ``cases[baseline]``.

    A target that fails, hangs or runs out of memory has its ``status``, and the rest goes on; without the baseline
    there are no ratios. Targets that do not fit into memory together are measured in groups that share the baseline.
    Raises UsageError for no cases, for cases on several devices or thread counts, for a device that computes nothing,
    and for more threads than there are idle cores; LatencyInterrupted on Ctrl-C, with what was complete.
    """
    if not 0 <= baseline < len(cases):
        raise UsageError(f"baseline {baseline} is not the index of one of {len(cases)} cases")
    return run(cases, baseline, settings, progress or _silent, effort=COMPARE)


def run(
    cases: Sequence[Case | Packed],
    baseline: int,
    settings: LatencySettings | None,
    tell: Tell,
    pool: Pool | None = None,
    *,
    effort: Effort | None = None,
    until: float | None = None,
    blameless: Collection[int] = (),
) -> LatencyComparison:
    """The paired measure, in the command's process; see `compare_latency`.

    effort: unless given that of a profile for one case, of a comparison for several. until, blameless: see `Session`.
    """
    bare = [case.case if isinstance(case, Packed) else case for case in cases]
    settings, effort = settings or LatencySettings(), effort or (PROFILE if len(cases) == 1 else COMPARE)
    _require_comparable(bare)
    for case in cases:
        if isinstance(case, Case):
            resolve(case.target)
    if settings.metric == "instructions":
        return compare_instructions(cases, baseline, settings, tell)
    threads, replicates = bare[0].threads, settings.replicates(effort)
    if pool is not None:
        pool.wait_ready()  # or its own processes would keep the cores busy
    _require_idle_cores(threads, settings.force_threads)
    with nullcontext(pool) if pool is not None else Pool(threads, replicates, settings.allocator) as workers:
        budget_s = settings.budget_s(effort)
        session = Session(cases, baseline, settings, replicates, budget_s, workers, tell, until, blameless)
        gathered = session.run()
    if len(cases) == 1:
        _raise_usage_error(gathered)
    comparison = comparison_of(gathered, len(cases), baseline, settings)
    if gathered.interrupted:
        raise LatencyInterrupted(comparison)
    return comparison


def _require_comparable(cases: Sequence[Case]) -> None:
    for name in ("device", "threads"):
        values = sorted({str(getattr(case, name)) for case in cases})
        if len(values) > 1:
            raise UsageError(f"cases timed in the same rounds must share their {name}, got {' and '.join(values)}")
    if cases[0].device_type == "meta":
        raise UsageError("nothing is computed on the meta device, so that it has no latency; use --device cpu")


def _require_idle_cores(threads: int, force: bool) -> None:
    """More threads than idle cores wait for each other: up to 1000 times slower, and no figure to publish."""
    if threads == 1 or force:
        return
    idle = idle_cores()
    if threads > idle:
        raise UsageError(
            f"{threads} threads need {threads} idle cores, and {idle} of this machine's are: "
            f"take --threads {max(1, idle)}, wait until it is idle, or --force it"
        )


def idle_cores() -> int:
    """Cores of those this process may run on that are idle at present, to the nearest whole."""
    import psutil

    busy = psutil.cpu_percent(_BUSY_FOR_S, percpu=True)
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(len(busy))
    return round(sum(1 - busy[core] / 100 for core in mine if core < len(busy)))


def _raise_usage_error(gathered: Gathered) -> None:
    """A single target that is wrong is a wrong request."""
    for failed in gathered.failures.values():
        kind = getattr(errors, failed.error_type or "", None)
        if isinstance(kind, type) and issubclass(kind, UsageError):
            raise kind.__new__(kind, failed.error or "")
