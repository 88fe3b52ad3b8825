"""What measuring a case gave, as objects and as the flat row of a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.errors import CaseTimeout, MeasurementError, OutOfMemory, UsageError
from convbench.execution.out_of_memory import is_out_of_memory
from convbench.records import Record, format_given, format_options, format_shapes, timestamp

if TYPE_CHECKING:
    from convbench.measures.cost import Cost
    from convbench.measures.erf import Erf
    from convbench.measures.latency import Latency, Ratio
    from convbench.measures.memory import Memory
    from convbench.measures.params import Params
    from convbench.target.blueprint import Subject


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
            status = "oom" if is_out_of_memory(error) else "error"
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


def to_record(outcome: Outcome) -> Record:
    """The flat row of ``outcome``; what was not measured stays empty."""
    import torch

    from convbench import __version__
    from convbench.execution.device import device_name

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
        "given": format_given(case),
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
            "dtype": subject.dtype,
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
