"""Measuring from Python: the same cases, measures and records as the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.case import Case, Shape
from convbench.errors import ShapeError, UsageError
from convbench.records import COLUMNS, Record

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from convbench.measures.erf import Erf, ErfSettings
    from convbench.measures.latency import LatencySettings
    from convbench.measures.table import Plan
    from convbench.target.blueprint import Subject


def profile(
    target: str | nn.Module,
    dim: int | None = None,
    *,
    shape: Shape | None = None,
    size: int | None = None,
    batch: int = 1,
    inputs: Sequence[Tensor] | None = None,
    measures: Sequence[str] | None = None,
    latency: LatencySettings | None = None,
    erf: ErfSettings | None = None,
    strict: bool = False,
    conditions: Mapping[str, Any] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str = "inference",
    **options: Any,
) -> Record:
    """Measure one target and return its record.

    target: a reference as on the command line, or the caller's own module, which is left as it was.
    dim: channels of a registered block (64 unless given).
    shape: of the input, N,C,H,W; needed for a module, unless ``inputs`` gives its positional arguments.
    measures: of ``params``, ``cost``, ``latency``, ``memory``, ``erf``; all that the device can do unless given.
    conditions: further fields of `Case`, such as ``{"threads": 2, "execution": "compiled"}``.
    options: of the target.
    Raises UsageError for a request that cannot be met; a measure that fails is the record's ``status`` and ``error``.
    """
    from convbench.measures.carry_out import profile_case

    case = _case(target, dim, shape, size, batch, device, dtype, mode, options, conditions)
    plan = _plan(measures, device, strict, latency, erf)
    if isinstance(target, str):
        return profile_case(case, plan).record()
    with _instance(target, case, inputs) as subject:
        return profile_case(subject.case, plan, subject=subject).record()


def compare(
    targets: Sequence[str],
    dim: int | None = None,
    *,
    baseline: str | None = None,
    shape: Shape | None = None,
    size: int | None = None,
    batch: int = 1,
    measures: Sequence[str] | None = None,
    latency: LatencySettings | None = None,
    erf: ErfSettings | None = None,
    strict: bool = False,
    conditions: Mapping[str, Any] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str = "inference",
) -> pd.DataFrame:
    """Measure several targets under the same conditions; one row a target, columns as in `Record`.

    Latencies are taken in the same rounds; ``ratio`` refers to ``baseline`` (the first target unless given).
    Raises UsageError for a request that cannot be met.
    """
    from convbench.measures.carry_out import compare_cases

    if not targets:
        raise UsageError("compare needs at least one target")
    if baseline is not None and baseline not in targets:
        raise UsageError(f"baseline {baseline!r} is not among the targets {', '.join(targets)}")
    cases = [_case(name, dim, shape, size, batch, device, dtype, mode, {}, conditions) for name in targets]
    index = 0 if baseline is None else list(targets).index(baseline)
    outcomes = compare_cases(cases, index, _plan(measures, device, strict, latency, erf))
    return to_frame([outcome.record() for outcome in outcomes])


def erf(
    target: str | nn.Module,
    dim: int | None = None,
    *,
    shape: Shape | None = None,
    size: int | None = None,
    settings: ErfSettings | None = None,
    device: str = "cpu",
    **options: Any,
) -> Erf:
    """The effective receptive field of a target: its map, figures and intervals.

    target: a reference as on the command line, of which several initialisations are pooled, or the caller's own
        module, whose weights are taken as they are. shape: of the input, N,C,H,W; needed for a module.
    Raises UsageError for a request that cannot be met, EmptyMapError when nothing of the input reaches the output.
    """
    from convbench.measures.erf import measure_erf
    from convbench.target.blueprint import blueprint

    case = _case(target, dim, shape, size, 1, device, None, "inference", options, None)
    if isinstance(target, str):
        plan = blueprint(case)
        return measure_erf(plan.module, plan.shapes()[0], settings, device=device)
    if shape is None:
        raise ShapeError(f"{type(target).__name__} is a module: give shape=(N, C, H, W)")
    return measure_erf(target, shape, settings, device=device)


def to_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Records as a table, columns in schema order; a whole number stays one beside a missing value."""
    import pandas as pd

    return pd.DataFrame([record.to_row() for record in records], columns=list(COLUMNS)).convert_dtypes()


def _case(
    target: str | nn.Module,
    dim: int | None,
    shape: Shape | None,
    size: int | None,
    batch: int,
    device: str,
    dtype: str | None,
    mode: str,
    options: Mapping[str, Any],
    conditions: Mapping[str, Any] | None,
) -> Case:
    if not isinstance(target, str) and (options or dim is not None):
        raise UsageError("a module instance is already built: dim and options do not apply to it")
    return Case(
        target if isinstance(target, str) else type(target).__name__,
        dim=dim,
        options=tuple(options.items()),
        batch=batch,
        size=size,
        shapes=() if shape is None else (tuple(shape),),
        device=device,
        dtype=dtype,
        mode=mode,  # type: ignore[arg-type]
        **(conditions or {}),
    )


def _plan(
    measures: Sequence[str] | None, device: str, strict: bool, latency: LatencySettings | None, erf: ErfSettings | None
) -> Plan:
    from convbench.measures.table import Plan, check_measures

    return Plan(check_measures(measures, device), strict=strict, latency=latency, erf=erf)


@contextmanager
def _instance(module: nn.Module, case: Case, inputs: Sequence[Tensor] | None) -> Iterator[Subject]:
    """A subject around a copy of the caller's module, and a file from which measuring processes read it."""
    from convbench.target.blueprint import instance_subject, save_instance

    if inputs is None and not case.shapes:
        raise ShapeError(f"{type(module).__name__} is a module: give shape=(N, C, H, W), or inputs=[…]")
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        reference = save_instance(module, Path(folder) / "module.pt")
        yield instance_subject(module, replace(case, target=reference), inputs)
