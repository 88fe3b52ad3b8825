"""What measuring a case gave, as results by measure and as the flat row of a record. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from convbench.case import Case, Shape
from convbench.errors import ConvbenchError, NotDefinedError, UsageError
from convbench.records import Record, format_given, format_options, format_shapes, timestamp
from convbench.registry import Kind
from convbench.source import Source
from convbench.workers.pool import Failure

if TYPE_CHECKING:
    from convbench.measures.cost.result import Cost
    from convbench.measures.erf.result import Erf
    from convbench.measures.latency.result import Latency, Ratio
    from convbench.measures.memory.result import Memory


@dataclass(frozen=True, slots=True)
class Identity:
    """What a case turned out to be once its target was imported.

    name, kind: as tables print them. options: the effective ones, as JSON can hold them. shapes: of each tensor among
    the arguments. dtype: of the module, once it is built.
    input_grad: whether the backward pass computes the input's gradient; None without gradients.
    """

    name: str
    kind: Kind
    options: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    device_name: str
    torch_version: str
    dtype: str | None
    input_grad: bool | None = None


@dataclass(slots=True)
class Outcome:
    """What one case gave: the result of each measure that was taken, and why the others were not.

    identity: None where the target could not even be imported. results: by measure.
    ratio: latency over that of ``baseline``, where several cases were timed.
    problem: ``(status, reason)`` of the first measure that failed; refusal: what was wrong with the request, if that.
    runs: whether the target took its input. source: of the target's code, where it was asked for.
    seconds: that each step took.
    """

    case: Case
    identity: Identity | None = None
    results: dict[str, Any] = field(default_factory=dict)
    ratio: Ratio | None = None
    baseline: str | None = None
    problem: tuple[str, str] | None = None
    refusal: UsageError | None = None
    runs: bool = False
    source: Source | None = None
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that tables print."""
        return self.identity.name if self.identity is not None else self.case.target

    def fail(self, measure: str, error: ConvbenchError) -> None:
        """Take over why a measure was not taken; the first reason is the outcome's problem."""
        failure = Failure.of(error)
        if isinstance(error, UsageError):
            self.refusal = self.refusal or error
        reason = failure.reason if failure.refused else f"{measure}: {failure.reason}"
        self.blame(failure.status, reason, is_note=isinstance(error, NotDefinedError) and bool(self.results))

    def blame(self, status: str, reason: str, *, is_note: bool = False) -> None:
        """Keep the first reason as the problem; any other, and a mere note, among the notes."""
        if self.problem is None and not is_note:
            self.problem = (status, reason)
        else:
            self.notes.append(reason)

    def adopt(self, latency: Latency, ratio: Ratio | None = None, baseline: str | None = None) -> None:
        """Take a latency over, and with it why it may be missing."""
        self.results["latency"], self.ratio, self.baseline = latency, ratio, baseline
        if latency.status != "ok":
            self.blame(latency.status, f"latency: {latency.error or latency.status}")

    def record(self) -> Record:
        """The flat row; what was not measured stays empty."""
        return _record(self)


def _record(outcome: Outcome) -> Record:
    from convbench import __version__

    case, identity, results = outcome.case, outcome.identity, outcome.results
    values: dict[str, Any] = {
        "target": case.target,
        "options": format_options(dict(case.options)),
        "input_shape": format_shapes(case.shapes) or None,
        "device": case.device,
        "dtype": case.dtype,
        "memory_format": case.memory_format,
        "mode": case.mode,
        "execution": case.execution,
        "threads": case.threads,
        "given": format_given(case),
        "convbench_version": __version__,
        "torch_version": version("torch"),
        "created_at": timestamp(),
        "baseline": outcome.baseline,
    }
    if identity is not None:
        values |= {
            "kind": identity.kind,
            "options": format_options(_stated_options(case, identity)),
            "input_shape": format_shapes(identity.shapes),
            "device_name": identity.device_name,
            "torch_version": identity.torch_version,
            "dtype": identity.dtype,
        }
    if "params" in results:
        values |= dataclasses.asdict(results["params"])
    values |= _cost_columns(results.get("cost")) | _latency_columns(results.get("latency"))
    values |= _memory_columns(results.get("memory")) | _erf_columns(results.get("erf")) | _ratio_columns(outcome.ratio)
    if outcome.problem is not None:
        values["status"], values["error"] = outcome.problem
    return Record(**values)


def _stated_options(case: Case, identity: Identity) -> dict[str, Any]:
    """The target's options, and those conditions that have no column of their own."""
    extra = {
        "autocast": case.autocast,
        "weights": case.weights,
        "pretrained": case.pretrained or None,
        "transforms": "+".join(case.transforms) or None,
        "input_grad": identity.input_grad,
        "seed": case.seed or None,
    }
    return {**identity.options, **{key: value for key, value in extra.items() if value is not None}}


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
