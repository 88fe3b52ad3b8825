"""Measuring from Python: the same cases, measures and records as the command line."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.case import CONDITIONS, Case
from convbench.errors import ShapeError, TargetError, UsageError, nearest
from convbench.inputs import Input, Shape, inputs_of
from convbench.records import COLUMNS, Record, record_of
from convbench.reference import baseline_index, read_case

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from convbench.measures.erf import Erf, ErfSettings
    from convbench.measures.latency import LatencySettings
    from convbench.measures.outcome import Outcome
    from convbench.measures.table import Plan


def profile(
    target: str | nn.Module,
    dim: int | None = None,
    *,
    shape: Shape | None = None,
    size: int | None = None,
    batch: int = 1,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
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

    target: a reference as on the command line, which may say more, ``"PyConv(kernels=[3, 5])@dim=96"``, or the caller's
        own module, which is left as it was.
    dim: channels of a registered block (64 unless given).
    shape: of the input, N,C,H,W; needed for a module, unless it has ``example_inputs``, or ``inputs`` and ``kwargs``
        give the arguments of its call: tensors of any dtype, in lists, tuples and dictionaries as it takes them. In
        place of a tensor a text describes one, as on the command line: ``"2x8x10x10"``, ``"step=2:int64:0..999"``; for
        a reference all have to be such texts.
    measures: of ``params``, ``cost``, ``latency``, ``memory``, ``erf``; all that the device can do unless given.
    conditions: further fields of `Case`, such as ``{"threads": 2, "execution": "compiled"}``.
    options: of the target.

    A target that has a reference is measured in processes of its own. The caller's own module is measured here, on a
    clone, but for latency, for which it is pickled; that holds the device like any command.
    Raises UsageError for a request that cannot be met; a measure that fails is the record's ``status`` and ``error``.
    """
    from convbench.measures.carry_out import Measurer

    shapes = _shapes(shape, inputs, kwargs) if isinstance(target, str) else _shapes(shape)
    case = _case(target, dim, shapes, size, batch, device, dtype, mode, options, conditions)
    plan = _plan(measures, case.device, strict, latency, erf)
    if not isinstance(target, str):
        return record_of(_profile_instance(target, case, plan, inputs, kwargs))
    with Measurer() as measurer:
        return record_of(measurer.carry_out([case], plan)[0])


def compare(
    targets: Sequence[str],
    dim: int | None = None,
    *,
    baseline: str | None = None,
    shape: Shape | None = None,
    size: int | None = None,
    batch: int = 1,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
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

    inputs, kwargs: as of `profile`.

    Latencies are taken in the same rounds; ``ratio`` refers to ``baseline`` (the first target unless given).
    Raises UsageError for a request that cannot be met.
    """
    from convbench.measures.carry_out import Measurer

    if not targets:
        raise UsageError("compare needs at least one target")
    shapes = _shapes(shape, inputs, kwargs)
    cases = [_case(name, dim, shapes, size, batch, device, dtype, mode, {}, conditions) for name in targets]
    index = baseline_index(cases, baseline)
    with Measurer() as measurer:
        outcomes = measurer.carry_out(cases, _plan(measures, cases[0].device, strict, latency, erf), index)
    return to_frame([record_of(outcome) for outcome in outcomes])


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
    case = _case(target, dim, _shapes(shape), size, 1, device, None, "inference", options, None)
    if isinstance(target, str):
        return _erf_by_worker(case, settings)
    from convbench.measures.erf import measure_erf

    if shape is None:
        raise ShapeError(f"{type(target).__name__} is a module: give shape=(N, C, H, W)")
    return replace(measure_erf(target, shape, settings, device=device), label=type(target).__name__)


def plot_erf(fields: Sequence[Erf], labels: Sequence[str] | None = None, **drawing: Any) -> Figure:
    """A picture of several fields, as ``convbench erf plot`` draws it.

    labels: titles of the fields instead of their own. drawing: as `convbench.pictures.field.Drawing` takes it:
        ``width_in``, ``scale``, ``columns``, ``heading``, ``common``.
    Raises UsageError for a request that cannot be met.
    """
    from convbench.pictures.field import Drawing
    from convbench.pictures.figure import draw_fields

    if not fields:
        raise UsageError("plot_erf needs at least one field")
    if labels is not None and len(labels) != len(fields):
        raise UsageError(f"plot_erf got {len(labels)} labels for {len(fields)} fields")
    named = [replace(field, label=label) for field, label in zip(fields, labels or [], strict=False)] or fields
    return draw_fields([field.described for field in named], Drawing(**drawing))


def _erf_by_worker(case: Case, settings: ErfSettings | None) -> Erf:
    import cloudpickle

    from convbench.measures.erf.result import Erf
    from convbench.target.packed import pack
    from convbench.workers.codec import decode
    from convbench.workers.process import run_in_worker

    pickled = base64.b64encode(cloudpickle.dumps(settings)).decode()
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        packed = pack(case, Path(folder)).to_json()
        job = {"do": "convbench.measures.erf.job:run", "packed": packed, "settings": pickled}
        return decode(Erf, run_in_worker(job)["erf"])


def to_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Records as a table, columns in schema order; a whole number stays one beside a missing value."""
    import pandas as pd

    return pd.DataFrame([record.to_row() for record in records], columns=list(COLUMNS)).convert_dtypes()


def _shapes(
    shape: Shape | None, inputs: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> tuple[Input, ...]:
    if shape is not None and inputs is not None:
        raise ShapeError("give either shape or inputs: each says the arguments of the call")
    return (*([] if shape is None else [tuple(shape)]), *inputs_of(inputs or (), kwargs or {}))


def _case(
    target: str | nn.Module,
    dim: int | None,
    shapes: tuple[Input, ...],
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
    unknown = [name for name in conditions or () if name not in CONDITIONS]
    if unknown:
        raise UsageError(f"no condition is called {unknown[0]!r}.{nearest(unknown[0], CONDITIONS)}")
    said: dict[str, Any] = {"dim": dim, "options": tuple(options.items()), "batch": batch, "size": size}
    said |= {"shapes": shapes, "device": device, "dtype": dtype, "mode": mode}
    usual = Case(type(target).__name__, **{**said, **(conditions or {})})
    return read_case(target, usual) if isinstance(target, str) else usual


def _plan(
    measures: Sequence[str] | None, device: str, strict: bool, latency: LatencySettings | None, erf: ErfSettings | None
) -> Plan:
    from convbench.measures.cost.settings import CostSettings
    from convbench.measures.table import Plan, check_measures

    given = {"cost": CostSettings(strict), "latency": latency, "erf": erf}
    settings = {name: value for name, value in given.items() if value is not None}
    return Plan(check_measures(measures, device), settings)


def _profile_instance(
    module: nn.Module, case: Case, plan: Plan, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> Outcome:
    """Measure a clone of the caller's module here; what is timed, in processes that get it pickled."""
    from convbench.execution.device import require_device
    from convbench.measures.job import identity_of, take
    from convbench.measures.outcome import Outcome
    from convbench.target.blueprint import instance_blueprint

    if inputs is None and not kwargs and not case.shapes and not hasattr(module, "example_inputs"):
        raise ShapeError(f"{type(module).__name__} is a module: give shape=(N, C, H, W), or inputs=[…]")
    require_device(case.device)
    design = instance_blueprint(module, case, inputs, kwargs)
    outcome, subject = Outcome(case), design.subject()
    outcome.identity = identity_of(design, subject.dtype)
    here = (*plan.in_worker(alone=False), *plan.in_worker(alone=True))

    def hear(message: Mapping[str, Any]) -> None:
        outcome.runs |= "runs" in message

    for name, result, error in take(subject, here, plan.settings, send=hear, interruptible=True):
        if error is not None:
            outcome.fail(name, error)
        else:
            outcome.results[name] = result
        if outcome.refusal is not None:
            raise outcome.refusal
    if "latency" in plan.measures:
        _time_instance(module, outcome, plan, inputs, kwargs)
    return outcome


def _time_instance(
    module: nn.Module,
    outcome: Outcome,
    plan: Plan,
    inputs: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> None:
    from convbench.measures.carry_out import Measurer
    from convbench.target.packed import pack_instance
    from convbench.workers.device_lock import device_lock, physical_device

    case = outcome.case
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder:
        try:
            packed = pack_instance(module, case, Path(folder), inputs, kwargs)
        except TargetError as error:
            outcome.blame("error", f"latency: {error}")
            return
        with device_lock(physical_device(case.device), lambda _: None), Measurer() as measurer:
            measurer.measure_paired([outcome], [packed], plan)
    if outcome.refusal is not None:
        raise outcome.refusal
