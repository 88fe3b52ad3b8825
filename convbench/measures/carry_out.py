"""Carrying out a case: every measure asked for, each failure a record, nothing measured ever lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.measures.outcome import Outcome
from convbench.measures.table import Plan, Progress
from convbench.registry import resolve

if TYPE_CHECKING:
    from convbench.measures.erf import Erf
    from convbench.measures.latency import Pool
    from convbench.target.blueprint import Subject
    from convbench.workers.process import Worker


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``outcomes`` holds what was complete."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("interrupted")
        self.outcomes = list(outcomes)


def profile_case(
    case: Case, plan: Plan, progress: Progress = lambda _: None, subject: Subject | None = None
) -> Outcome:
    """Measure one case. ``subject`` is given where the target is an instance.

    Raises UsageError for a request that cannot be met, and Interrupted with what was complete.
    """
    if subject is None:
        resolve(case.target)  # a wrong name starts no process
    outcome = Outcome(case, subject=subject)
    try:
        with _processes(case, plan) as (pool, checker):
            _measure_static(outcome, plan, progress, checker)
            if "latency" in plan.measures and outcome.problem is None:
                progress(f"{outcome.name}: timing")
                with outcome.attempt("latency"):
                    _time([outcome], 0, plan, progress, pool)
    except KeyboardInterrupt:
        raise Interrupted([outcome]) from None
    return outcome


@contextmanager
def _processes(case: Case, plan: Plan) -> Iterator[tuple[Pool | None, Worker | None]]:
    """Those that will time, and the one that will check memory: they come up side by side while this one works."""
    from convbench.measures.latency import LatencySettings, start_workers
    from convbench.measures.memory.high_water import start_high_water

    settings = plan.latency or LatencySettings()
    with ExitStack() as stack:
        is_checked = "memory" in plan.measures and case.device_type == "cpu" and case.execution == "eager"
        checker = stack.enter_context(start_high_water(case.threads)) if is_checked else None
        is_timed = "latency" in plan.measures and settings.metric == "time" and case.device_type != "meta"
        pool = stack.enter_context(start_workers(case, settings)) if is_timed else None
        yield pool, checker


def compare_cases(
    cases: Sequence[Case], baseline: int, plan: Plan, progress: Progress = lambda _: None
) -> list[Outcome]:
    """Measure several cases; latencies are taken in the same rounds, as ratios to ``cases[baseline]``.

    All cases are built before anything is measured, so that a wrong request costs no time.
    Raises UsageError, and Interrupted with what was complete.
    """
    from convbench.execution.device import require_device
    from convbench.target.blueprint import blueprint

    for case in cases:
        require_device(case.device)
        blueprint(case).module(device="meta" if case.weights is None and not case.pretrained else None)
    outcomes = [Outcome(case) for case in cases]
    reached = 0
    try:
        for outcome in outcomes:
            _measure_static(outcome, plan, progress)
            reached += 1
        if "latency" in plan.measures:
            _compare_latencies(outcomes, baseline, plan, progress)
    except KeyboardInterrupt:
        raise Interrupted(outcomes[: reached + 1]) from None
    return outcomes


def _measure_static(outcome: Outcome, plan: Plan, progress: Progress, checker: Worker | None = None) -> None:
    """All but latency: what does not need the machine for itself."""
    from convbench.measures.cost import measure_cost
    from convbench.measures.params import measure_params
    from convbench.target.blueprint import make_subject

    if outcome.subject is None:
        progress(f"{outcome.case.target}: building")
        with outcome.attempt("build"):
            outcome.subject = make_subject(outcome.case)
    subject = outcome.subject
    if subject is None:
        return
    if "params" in plan.measures:
        outcome.params = measure_params(subject.module)
    progress(f"{subject.name}: counting")
    # Counting also proves that the target accepts its input, so it runs even where nobody asked for the count.
    with outcome.attempt("cost"):
        cost = measure_cost(
            subject.module,
            subject.args,
            subject.kwargs,
            training=subject.training,
            input_grad=subject.input_grad,
            autocast=subject.autocast,
            strict=plan.strict,
        )
        outcome.cost = cost if "cost" in plan.measures else None
    if "memory" in plan.measures:
        from convbench.measures.memory import measure_memory

        progress(f"{subject.name}: tracing memory")
        with outcome.attempt("memory"):
            outcome.memory = measure_memory(subject, worker=checker)
    if "erf" in plan.measures:
        progress(f"{subject.name}: drawing its receptive field")
        with outcome.attempt("erf"):
            outcome.erf = _erf(subject, plan)


def _erf(subject: Subject, plan: Plan) -> Erf | None:
    """A field on few samples, for the line in a profile; ``convbench erf`` draws more of them."""
    from convbench.measures.erf import ErfSettings, measure_erf
    from convbench.target.blueprint import blueprint

    if len(subject.shapes) != 1 or len(subject.shapes[0]) != 4:
        raise MeasurementError("a receptive field needs one input of shape N,C,H,W")
    # Initialisations differ more than samples do; those of a network take long to build and to differentiate.
    quick = ErfSettings(seeds=1, samples=8) if subject.kind == "network" else ErfSettings(seeds=8, samples=4)
    case = subject.case
    given = case.target.startswith("saved:") or case.weights is not None or case.pretrained
    source = subject.module if given else blueprint(case).module
    return measure_erf(source, subject.shapes[0], plan.erf or quick, device=case.device)


def _compare_latencies(outcomes: Sequence[Outcome], baseline: int, plan: Plan, progress: Progress) -> None:
    able = [outcome for outcome in outcomes if outcome.problem is None]
    if outcomes[baseline] not in able:
        for outcome in able:
            outcome.notes.append("latency: not compared, because the baseline failed")
    elif able:
        _time(able, able.index(outcomes[baseline]), plan, progress)


def _time(outcomes: Sequence[Outcome], baseline: int, plan: Plan, progress: Progress, pool: Pool | None = None) -> None:
    """Latencies of the outcomes' cases in the same rounds, and, of several, their ratios; also what Ctrl-C left."""
    from convbench.measures.latency import LatencyInterrupted, compare_latency, measure_latency

    def tell(state: object) -> None:
        progress(str(state))

    cases = [outcome.case for outcome in outcomes]
    try:
        if len(cases) == 1:
            outcomes[0].adopt(measure_latency(cases[0], plan.latency, tell, pool))
            return
        comparison = compare_latency(cases, baseline, plan.latency, tell)
    except LatencyInterrupted as stop:
        comparison = stop.partial
    name = outcomes[baseline].name
    for outcome, latency, ratio in zip(outcomes, comparison.latencies, comparison.ratios, strict=True):
        outcome.adopt(latency, ratio, name if len(cases) > 1 else None)
    outcomes[baseline].notes += [f"latency: {note}" for note in comparison.notes]
    if comparison.interrupted:
        raise KeyboardInterrupt
