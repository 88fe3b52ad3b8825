"""The schema of a record: one flat row a case. Column order is fixed; names carry units; not measured is empty.

Imports no torch, so that saved records can be read and rendered anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, get_args, get_type_hints

from convbench.case import Case

SCHEMA_VERSION = 1
GIVEN = ("dim", "options", "dtype", "autocast", "weights", "pretrained", "transforms", "input_grad", "seed")
"""Fields of a case that have no column of their own, and those whose column says what they came to."""
STATUSES = ("ok", "oom", "timeout", "error", "interrupted")


@dataclass(frozen=True, slots=True)
class Record:
    """What one case gave. ``None`` means not measured; the units are in the names.

    input_shape: ``1x64x56x56``; several inputs are joined by ``;``.
    options: the target's effective options as JSON.
    given: what was asked for beyond the columns, as JSON: ``dim`` and ``options`` as given, weights and the like. So a
        default that changes later is seen as a difference. Empty in records of versions before it.
    macs, flops: of one call at the batch size as given (in training, forward + backward).
    macs: multiply-accumulates of convolutions, linear and matrix products, biases not counted, as written out
        operator by operator; algorithmic_macs: those that the target's algorithm needs; sampling_macs apart.
    flops: every floating-point operation; 2 per multiply-accumulate.
    uncounted: operators without a cost formula, ``name×calls``; empty means none, and that the totals are complete.
    latency_ms: median time of one call over all processes, with its 95% interval.
    latency_noise: ``quiet``, ``noisy`` or ``invalid``.
    erf_sigma: standard deviation of the effective receptive field, input pixels.
    erf_r20 … erf_r99: area ratio, the share of the input's area in the smallest centred square that holds that share
        of the map.
    erf_agd: closeness of the map to a Gaussian of its own second moments, in (0, 1].
    ratio: latency over the baseline's, with its 95% interval; verdict: ``faster``, ``slower``, ``same``, ``unclear``.
    status: ``ok``, ``oom``, ``timeout``, ``error`` or ``interrupted``; error: the reason.
    """

    target: str
    kind: str | None = None
    options: str | None = None
    given: str | None = None
    input_shape: str | None = None
    device: str | None = None
    device_name: str | None = None
    dtype: str | None = None
    memory_format: str | None = None
    mode: str | None = None
    execution: str | None = None
    threads: int | None = None
    params: int | None = None
    trainable_params: int | None = None
    buffers: int | None = None
    weight_bytes: int | None = None
    macs: int | None = None
    algorithmic_macs: int | None = None
    sampling_macs: int | None = None
    flops: int | None = None
    bytes_moved: int | None = None
    arithmetic_intensity: float | None = None
    uncounted: str | None = None
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    latency_p10_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_first_ms: float | None = None
    latency_samples: int | None = None
    latency_processes: int | None = None
    latency_noise: str | None = None
    throughput_per_s: float | None = None
    peak_bytes: int | None = None
    activation_peak_bytes: int | None = None
    saved_for_backward_bytes: int | None = None
    erf_sigma: float | None = None
    erf_r20: float | None = None
    erf_r30: float | None = None
    erf_r50: float | None = None
    erf_r99: float | None = None
    erf_agd: float | None = None
    baseline: str | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    verdict: str | None = None
    status: str = "ok"
    error: str | None = None
    schema_version: int = SCHEMA_VERSION
    convbench_version: str | None = None
    torch_version: str | None = None
    created_at: str | None = None

    def to_row(self) -> dict[str, Any]:
        """The record as a mapping, in column order."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """The record that `to_row` described; columns of other schema versions are ignored."""
        return cls(**{name: row[name] for name in COLUMNS if name in row})


COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Record))


@cache
def column_types() -> dict[str, type]:
    """The type of each column's values, ``None`` aside: str, int or float."""
    return {name: _bare(hint) for name, hint in get_type_hints(Record).items()}


def _bare(hint: object) -> type:
    choices = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(choice for choice in choices if isinstance(choice, type) and choice is not type(None))


def format_shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    """``1x64x56x56``; several inputs are joined by ``;``."""
    return ";".join("x".join(map(str, shape)) for shape in shapes)


def format_options(options: Mapping[str, Any]) -> str:
    """Options as one JSON object, in their own order; what JSON cannot say is text in it."""
    try:
        return json.dumps(options, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(
            {name: value if _is_finite(value) else str(value) for name, value in options.items()}, default=str
        )


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def format_given(case: Case) -> str:
    """What ``case`` says beyond the columns of a record, defaults left out; `Case.from_json` takes it back."""
    row, usual = case.to_json(), Case("").to_json()
    return format_options({name: row[name] for name in GIVEN if row[name] != usual[name]})


def timestamp() -> str:
    """The present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
