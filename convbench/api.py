"""Measuring from Python: the same cases, measures and records as the command line."""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from convbench.case import CONDITIONS, DEFAULT_SIZE, Case
from convbench.errors import ShapeError, TargetError, UsageError, nearest
from convbench.inputs import Input, Shape, inputs_of, read_inputs
from convbench.reading import shown
from convbench.records import Record, record_of
from convbench.reference import baseline_index, read_case

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.figure import Figure
    from torch import nn

    from convbench.comparison import Comparison
    from convbench.measures.erf import Erf, ErfSettings
    from convbench.measures.latency import LatencySettings
    from convbench.measures.outcome import Outcome
    from convbench.measures.table import Plan
    from convbench.target.packed import Packed

    Target = str | nn.Module | Callable[..., nn.Module]


def profile(
    target: Target,
    dim: int | None = None,
    *,
    shape: Shape | str | None = None,
    size: int | None = None,
    batch: int = 1,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    measures: Sequence[str] | str | None = None,
    latency: LatencySettings | None = None,
    erf: ErfSettings | None = None,
    strict: bool = False,
    conditions: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    mode: str = "inference",
    **options: Any,
) -> Record:
    """Measure one target and return its record.

    target: a reference as on the command line, which may say more, ``"PyConv(kernels=[3, 5])@dim=96"``; a class, or a
        function that builds a module, with its ``options``; or the caller's own module, which is left as it was.
    dim: channels of a block (64 unless given).
    shape: of the input, ``(N, C, H, W)`` or ``"1,64,28,28"``; needed for a module, unless it has ``example_inputs``, or
        ``inputs`` and ``kwargs`` give the arguments of its call: tensors of any dtype, in lists, tuples and
        dictionaries as it takes them. In place of a tensor a text describes one, as on the command line:
        ``"2x8x10x10"``, ``"step=2:int64:0..999"``; for a reference all have to be such texts.
    measures: of ``params``, ``cost``, ``latency``, ``memory``, ``erf``, in a list or one text with commas; all that the
        device can do unless given.
    conditions: further fields of `Case`, such as ``{"threads": 2, "execution": "compiled"}``.
    options: of the target.

    A target that has a reference is measured in processes of its own. The caller's own module is measured here, on a
    clone, but for latency, for which it is pickled; that holds the device like any command.
    Raises UsageError for a request that cannot be met; a measure that fails is the record's ``status`` and ``error``.
    """
    from convbench.measures.carry_out import Measurer

    shapes = _shapes(shape) if _is_module(target) else _shapes(shape, inputs, kwargs)
    case = _case(target, dim, shapes, size, batch, device, dtype, mode, options, conditions)
    plan = _plan(measures, case.device, strict, latency, erf)
    if _is_module(target):
        return record_of(_profile_instance(target, case, plan, inputs, kwargs))
    with tempfile.TemporaryDirectory(prefix="convbench-") as folder, Measurer() as measurer:
        return record_of(measurer.carry_out([_packed(target, case, Path(folder))], plan)[0])


def compare(
    targets: Sequence[Target] | Target,
    dim: int | None = None,
    *,
    baseline: Target | None = None,
    shape: Shape | str | None = None,
    size: int | None = None,
    batch: int = 1,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    measures: Sequence[str] | str | None = None,
    latency: LatencySettings | None = None,
    erf: ErfSettings | None = None,
    strict: bool = False,
    conditions: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    mode: str = "inference",
) -> Comparison:
    """Measure several targets under the same conditions; one row a target, columns as in `Record`.

    targets: references, classes and the caller's own modules, mixed as it suits; one may stand alone. They are measured
        in other processes, so that a module has to be picklable.
    shape: where it is not given, modules get a feature map of ``dim`` channels as blocks do.
    inputs, kwargs, and the others: as of `profile`. baseline: one of ``targets``, or its name.

    Latencies are taken in the same rounds; ``ratio`` refers to ``baseline`` (the first target unless given).
    Raises UsageError for a request that cannot be met.
    """
    from convbench.comparison import Comparison
    from convbench.measures.carry_out import Measurer

    several = isinstance(targets, Sequence) and not isinstance(targets, str)
    given: list[Any] = list(targets) if several else [targets]  # type: ignore[arg-type]
    if not given:
        raise UsageError("compare needs at least one target")
    with tempfile.TemporaryDirectory(prefix="convbench-") as name, Measurer() as measurer:
        packed = []
        for number, target in enumerate(given):
            is_module = _is_module(target)
            shapes = _shapes(shape, None if is_module else inputs, None if is_module else kwargs)
            if is_module and not shapes and inputs is None and dim is not None:
                shapes = ((batch, dim, size or DEFAULT_SIZE, size or DEFAULT_SIZE),)
            its = (None, None, 1) if is_module else (dim, size, batch)
            case = _case(target, its[0], shapes, its[1], its[2], device, dtype, mode, {}, conditions)
            folder = Path(name, str(number))
            folder.mkdir()
            packed.append(_packed(target, case, folder, inputs, kwargs))
        index = _index_of(baseline, given, [one.case for one in packed])
        plan = _plan(measures, packed[0].case.device, strict, latency, erf)
        outcomes = measurer.carry_out(packed, plan, index)
    return Comparison.of([record_of(outcome) for outcome in outcomes])


def _packed(
    target: Target,
    case: Case,
    folder: Path,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Packed:
    """A target of any kind for another process."""
    from convbench.target.packed import pack, pack_factory, pack_instance

    if isinstance(target, str):
        return pack(case, folder)
    if _is_module(target):
        return pack_instance(target, case, folder, inputs, kwargs)
    return pack_factory(target, case, folder)


def _is_module(target: Target) -> TypeGuard[nn.Module]:
    """Whether it is an instance; torch is imported where one can exist."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(target, torch.nn.Module)


def _name(target: Target) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)


def _index_of(baseline: Target | None, targets: Sequence[Target], cases: Sequence[Case]) -> int:
    """Which of the targets ``baseline`` is. Raises UnknownNameError."""
    same = [index for index, target in enumerate(targets) if target is baseline]
    if same or baseline is None:
        return same[0] if same else 0
    return baseline_index(cases, _name(baseline))


def erf(
    target: str | nn.Module,
    dim: int | None = None,
    *,
    shape: Shape | str | None = None,
    size: int | None = None,
    settings: ErfSettings | None = None,
    device: str | torch.device = "cpu",
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
    (drawn,) = case.arguments[0]
    return replace(measure_erf(target, drawn.shape, settings, device=case.device), label=type(target).__name__)


def plot_erf(fields: Sequence[Erf], labels: Sequence[str] | None = None, **drawing: Any) -> Figure:
    """A picture of several fields, as ``convbench erf plot`` draws it.

    labels: titles of the fields instead of their own. drawing: as `convbench.pictures.field.Drawing` takes it:
        ``width_in``, ``scale``, ``columns``, ``heading``, ``common``.
    Raises UsageError for a request that cannot be met.
    """
    from convbench.pictures.field import Drawing
    from convbench.pictures.figure import draw

    if not fields:
        raise UsageError("plot_erf needs at least one field")
    if labels is not None and len(labels) != len(fields):
        raise UsageError(f"plot_erf got {len(labels)} labels for {len(fields)} fields")
    named = [replace(field, label=label) for field, label in zip(fields, labels or [], strict=False)] or fields
    return draw([field.described for field in named], Drawing(**drawing))


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
    from convbench.comparison import Comparison

    return Comparison.of(records).to_frame()


def _shapes(
    shape: Shape | str | None, inputs: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> tuple[Input, ...]:
    if shape is not None and inputs is not None:
        raise ShapeError("give either shape or inputs: each says the arguments of the call")
    shapes = read_inputs(shape) if isinstance(shape, str) else () if shape is None else (tuple(shape),)
    return (*shapes, *inputs_of(inputs or (), kwargs or {}))


def _case(
    target: Target,
    dim: int | None,
    shapes: tuple[Input, ...],
    size: int | None,
    batch: int,
    device: str | torch.device,
    dtype: str | torch.dtype | None,
    mode: str,
    options: Mapping[str, Any],
    conditions: Mapping[str, Any] | None,
) -> Case:
    if not isinstance(target, str) and not callable(target):
        raise TargetError(f"{shown(target)} is no target: give a reference, a class, or a module")
    if _is_module(target) and (options or dim is not None):
        raise UsageError("a module instance is already built: dim and options do not apply to it")
    unknown = [name for name in conditions or () if name not in CONDITIONS]
    if unknown:
        raise UsageError(f"no condition is called {unknown[0]!r}.{nearest(unknown[0], CONDITIONS)}")
    said: dict[str, Any] = {"dim": dim, "options": tuple(options.items()), "batch": batch, "size": size}
    said |= {"shapes": shapes, "mode": mode}
    said |= {"device": str(device), "dtype": None if dtype is None else str(dtype).removeprefix("torch.")}
    usual = Case(_name(target), **{**said, **(conditions or {})})
    return read_case(target, usual) if isinstance(target, str) else usual


def _plan(
    measures: Sequence[str] | str | None,
    device: str,
    strict: bool,
    latency: LatencySettings | None,
    erf: ErfSettings | None,
) -> Plan:
    from convbench.measures.cost.settings import CostSettings
    from convbench.measures.table import Plan, check_measures

    given = {"cost": CostSettings(strict), "latency": latency, "erf": erf}
    settings = {name: value for name, value in given.items() if value is not None}
    names = [measures] if isinstance(measures, str) else measures
    return Plan(check_measures(names, device), settings)


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
