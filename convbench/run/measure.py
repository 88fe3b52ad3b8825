"""Carrying out a case: every measure asked for, each failure a record, nothing measured ever lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from convbench.case import Case
from convbench.errors import CaseTimeout, MeasurementError, OutOfMemory, UsageError
from convbench.records import Record, format_options, format_shapes, timestamp

if TYPE_CHECKING:
    from convbench.measures.cost import Cost
    from convbench.measures.erf import Erf, ErfSettings
    from convbench.measures.latency import Latency, LatencySettings, Pool, Ratio
    from convbench.measures.memory import Memory
    from convbench.measures.params import Params
    from convbench.run.process import Worker
    from convbench.subject import Subject

Measure = Literal["params", "cost", "latency", "memory", "erf"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how. ``None`` settings mean each measure's own defaults."""

    measures: tuple[Measure, ...] = MEASURES
    strict: bool = False
    latency: LatencySettings | None = None
    erf: ErfSettings | None = None


@dataclass(slots=True)
class Outcome:
    """What one case gave: the result of each measure that was taken, and why the others were not.

    problem: ``(status, reason)`` of the first measure that failed.
    """

    case: Case
    subject: Subject | None = None
    params: Params | None = None
    cost: Cost | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    erf: Erf | None = None
    ratio: Ratio | None = None
    baseline: str | None = None
    problem: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name that tables print."""
        return self.subject.name if self.subject is not None else self.case.target

    @contextmanager
    def attempt(self, measure: str) -> Iterator[None]:
        """Turn a failure of one measure into this outcome's problem, so that the rest goes on."""
        try:
            yield
        except KeyboardInterrupt:
            self.fail("interrupted", f"{measure}: interrupted")
            raise
        except OutOfMemory as error:
            self.fail("oom", f"{measure}: {error}")
        except CaseTimeout as error:
            self.fail("timeout", f"{measure}: {error}")
        except MeasurementError as error:
            self.fail("error", f"{measure}: {error}")
        except UsageError:
            raise
        except MemoryError:
            self.fail("oom", f"{measure}: the machine ran out of memory")
        except Exception as error:  # the target's own code runs here and may fail in any way
            import torch

            status = "oom" if isinstance(error, torch.OutOfMemoryError) or _cpu_oom(error) else "error"
            self.fail(status, f"{measure}: {type(error).__name__}: {error}")

    def fail(self, status: str, reason: str) -> None:
        """Keep the first reason."""
        if self.problem is None:
            self.problem = (status, reason)
        else:
            self.notes.append(reason)

    def adopt(self, latency: Latency, ratio: Ratio | None = None, baseline: str | None = None) -> None:
        """Take a latency over, and with it why it may be missing."""
        self.latency, self.ratio, self.baseline = latency, ratio, baseline
        if latency.status != "ok":
            self.fail(latency.status, f"latency: {latency.error or latency.status}")

    def record(self) -> Record:
        """The flat row of this outcome."""
        return to_record(self)


def _cpu_oom(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``outcomes`` holds what was complete."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("interrupted")
        self.outcomes = list(outcomes)


def check_measures(names: Sequence[str] | None, device: str) -> tuple[Measure, ...]:
    """The measures to take: those named, or all that ``device`` can do. Raises UsageError."""
    possible = tuple(name for name in MEASURES if device != "meta" or name not in ("latency", "erf"))
    if not names:
        return possible
    for name in names:
        if name not in MEASURES:
            from convbench.errors import nearest

            raise UsageError(f"measure {name!r} is not one of {', '.join(MEASURES)}.{nearest(name, MEASURES)}")
        if name not in possible:
            raise UsageError(
                f"measure {name!r} cannot be taken on {device}, where nothing is computed; use --device cpu"
            )
    return tuple(name for name in MEASURES if name in names)


def profile_case(
    case: Case, plan: Plan, progress: Progress = lambda _: None, subject: Subject | None = None
) -> Outcome:
    """Measure one case. ``subject`` is given where the target is an instance.

    Raises UsageError for a request that cannot be met, and Interrupted with what was complete.
    """
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
    from convbench.run.process import start_high_water

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
    from convbench.devices import require_device
    from convbench.subject import blueprint

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
    from convbench.subject import make_subject

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
    from convbench.subject import blueprint

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


def to_record(outcome: Outcome) -> Record:
    """The flat row of ``outcome``; what was not measured stays empty."""
    import torch

    from convbench import __version__
    from convbench.devices import device_name

    case, subject = outcome.case, outcome.subject
    values: dict[str, Any] = {
        "target": outcome.name if case.target.startswith("saved:") else case.target,
        "device": case.device,
        "device_name": device_name(case.device),
        "dtype": case.dtype,
        "memory_format": case.memory_format,
        "mode": case.mode,
        "execution": case.execution,
        "threads": case.threads,
        "convbench_version": __version__,
        "torch_version": str(torch.__version__),
        "created_at": timestamp(),
        "baseline": outcome.baseline,
    }
    if subject is not None:
        values |= {
            "kind": subject.kind,
            "options": format_options(_stated_options(subject)),
            "input_shape": format_shapes(subject.shapes),
        }
    if outcome.params is not None:
        values |= dataclasses.asdict(outcome.params)
    values |= _cost_columns(outcome.cost) | _latency_columns(outcome.latency) | _memory_columns(outcome.memory)
    values |= _erf_columns(outcome.erf) | _ratio_columns(outcome.ratio)
    if outcome.problem is not None:
        values["status"], values["error"] = outcome.problem
    return Record(**values)


def _stated_options(subject: Subject) -> dict[str, Any]:
    """The target's options, and those conditions that have no column of their own."""
    case = subject.case
    extra = {
        "autocast": case.autocast,
        "weights": case.weights,
        "pretrained": case.pretrained or None,
        "transforms": "+".join(case.transforms) or None,
        "input_grad": subject.input_grad if subject.records_gradients else None,
        "seed": case.seed or None,
    }
    return {**subject.options, **{key: value for key, value in extra.items() if value is not None}}


def _cost_columns(cost: Cost | None) -> dict[str, Any]:
    if cost is None:
        return {}
    return {
        "macs": cost.macs,
        "algorithmic_macs": cost.algorithmic_macs,
        "sampling_macs": cost.sampling_macs,
        "flops": cost.flops,
        "bytes_moved": cost.bytes_moved,
        "arithmetic_intensity": cost.arithmetic_intensity,
        "uncounted": "; ".join(f"{item.name}×{item.calls}" for item in cost.uncounted) or None,
    }


def _latency_columns(latency: Latency | None) -> dict[str, Any]:
    if latency is None or latency.median_ms is None:
        return {}
    return {
        "latency_ms": latency.median_ms,
        "latency_low_ms": latency.low_ms,
        "latency_high_ms": latency.high_ms,
        "latency_p10_ms": latency.p10_ms,
        "latency_p90_ms": latency.p90_ms,
        "latency_first_ms": latency.first_ms,
        "latency_samples": latency.samples,
        "latency_processes": latency.processes,
        "latency_noise": latency.noise,
        "throughput_per_s": latency.throughput_per_s,
    }


def _memory_columns(memory: Memory | None) -> dict[str, Any]:
    if memory is None:
        return {}
    return {
        "peak_bytes": memory.peak_bytes,
        "activation_peak_bytes": memory.activation_peak_bytes,
        "saved_for_backward_bytes": memory.saved_for_backward_bytes,
    }


def _erf_columns(erf: Erf | None) -> dict[str, Any]:
    if erf is None:
        return {}
    metrics = erf.metrics
    return {
        "erf_sigma": metrics.sigma_px,
        "erf_r20": metrics.area_ratio_20,
        "erf_r30": metrics.area_ratio_30,
        "erf_r50": metrics.area_ratio_50,
        "erf_r99": metrics.area_ratio_99,
        "erf_agd": metrics.agd,
    }


def _ratio_columns(ratio: Ratio | None) -> dict[str, Any]:
    if ratio is None:
        return {}
    return {"ratio": ratio.ratio, "ratio_low": ratio.low, "ratio_high": ratio.high, "verdict": ratio.verdict}
