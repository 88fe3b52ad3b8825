"""Counting a module: on meta tensors if they will do, else on fake ones, by a real run where shapes depend on data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from convbench.errors import MeasurementError, UsageError
from convbench.execution.as_written import as_written
from convbench.execution.attention import attention_as_on
from convbench.execution.clone import cloning
from convbench.execution.guard import isolated, uncollected, unlogged
from convbench.execution.lazy import is_lazy_module, materialise
from convbench.execution.modules import ModuleTree
from convbench.execution.step import Step
from convbench.execution.tensors import registered_tensors, tensors_in
from convbench.measures.cost.counter import CostCounter
from convbench.measures.cost.execution import Pass
from convbench.measures.cost.execution import run as run_counted
from convbench.measures.cost.failure import explain
from convbench.measures.cost.ledger import Group, assemble, macs_by_group
from convbench.measures.cost.provenance import storage_of
from convbench.measures.cost.result import Cost, Method
from convbench.measures.cost.settings import CostSettings
from convbench.measures.cost.sparse import SPARSE_LAYOUTS
from convbench.target.blueprint import Subject


class CostError(MeasurementError):
    """A cost that cannot be stated as asked: operators without a rule under ``strict``, or data that is not there."""


@dataclass(frozen=True, slots=True)
class _Request:
    module: nn.Module
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    training: bool
    input_grad: bool
    autocast: torch.dtype | None
    device_type: str
    tensors: tuple[Tensor, ...]
    """Of the arguments and of the module."""


def run(subject: Subject, settings: CostSettings | None = None) -> Cost:
    """The measure of a built case."""
    return measure_cost(
        subject.module,
        subject.args,
        subject.kwargs,
        training=subject.training,
        input_grad=subject.input_grad,
        autocast=subject.autocast,
        strict=settings is not None and settings.strict,
    )


def measure_cost(
    module: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object] | None = None,
    *,
    training: bool = False,
    input_grad: bool = True,
    autocast: torch.dtype | None = None,
    strict: bool = False,
) -> Cost:
    """Cost of ``module(*args, **kwargs)``, counted without computing it and without touching the module.

    args, kwargs: the inputs; their tensors, and the module's, may be real, fake or meta: only shapes are used, unless
        an operator's result depends on values; then a copy is really run, and ``Cost.method`` says so.
    training: forward and backward, in the train or eval mode that each submodule is in. Gradients are counted for
        parameters that require one, and for floating inputs if ``input_grad`` (a block inside a network).
    autocast: run under ``torch.autocast`` with this dtype.
    strict: raise instead of giving a lower bound.

    Raises ShapeError, naming the layer and the shape that reached it, if the module rejects the input; CostError if
    operators, which it names, have no rule under ``strict``, or if shapes depend on data and there is none.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"measure_cost takes an nn.Module, got {type(module).__name__}")
    if isinstance(args, Tensor) or not isinstance(args, (tuple, list)):
        raise UsageError(
            f"args is the tuple of forward's arguments, got {type(args).__name__}: write (x,) for one input"
        )
    if is_lazy_module(module):
        module = _materialised(module, tuple(args), kwargs or {})
    registered = tuple(registered_tensors(module))
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper: the operators it was made from are counted
    tensors = (*tensors_in((tuple(args), dict(kwargs or {}))), *registered)
    if any(tensor.is_nested for tensor in tensors):
        raise UsageError("nested tensors have no one shape to count by: pad them to one")
    device_type = _device_type(tensors)
    autocast = autocast or _outer_autocast(device_type)
    request = _Request(module, tuple(args), kwargs or {}, training, input_grad, autocast, device_type, tensors)
    with isolated(), unlogged():
        cost = _first_that_works(request)
    if strict and cost.uncounted:
        names = ", ".join(f"{item.name} ({item.calls} calls)" for item in cost.uncounted)
        raise CostError(
            f"no cost rule for {names}: the total would be a lower bound; "
            "register one with @register_cost('namespace::operator'), or count without strict"
        )
    return cost


def _materialised(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> nn.Module:
    """A clone whose lazy parameters have the shapes that these arguments ask for."""
    on_meta = any(tensor.is_meta for tensor in tensors_in((args, dict(kwargs))))
    with isolated(), cloning("meta" if on_meta else "real") as cloner:
        made, (inputs, options) = cloner.module(module), cloner.arguments((args, dict(kwargs)))
        materialise(made, inputs, options)
    return made


_COMPILER = "torch._dynamo"


class _UnsuitableError(Exception):
    """These tensors will not do for this module; the message says why."""

    def __init__(self, reason: str, *, needs_values: bool) -> None:
        super().__init__(reason)
        self.needs_values = needs_values


def _first_that_works(request: _Request) -> Cost:
    methods = _methods(request)
    sparse = any(tensor.layout in SPARSE_LAYOUTS for tensor in request.tensors)
    reason = "what a sparse tensor keeps depends on values" if sparse else None
    if reason is None and methods[0] == "fake" and request.autocast is None:
        reason = "recurrent layers run other kernels on meta tensors than on a device"
    while methods:
        method = methods.pop(0)
        try:
            return _count(request, method, reason)
        except _UnsuitableError as unsuitable:
            reason = str(unsuitable)
            if unsuitable.needs_values and method == "meta":
                methods = [other for other in methods if other == "real"]
    raise CostError(
        f"{reason}, and there are none on meta: count it on a device (--device cpu; in Python inputs= that have "
        "values, and a module that has its weights)"
    )


def _methods(request: _Request) -> list[Method]:
    """The ways to try, cheapest first: autocast does not act on meta tensors, and recurrent layers ask for the device.

    A real run needs values.

    How many elements a sparse tensor keeps is no matter of its shape: it takes a real run.
    """
    recurrent = any(isinstance(part, nn.RNNBase) for part in request.module.modules())
    methods: list[Method] = ["fake"] if request.autocast is not None or recurrent else ["meta", "fake"]
    if any(tensor.layout in SPARSE_LAYOUTS for tensor in request.tensors):
        methods = []
    if all(not tensor.is_meta and type(tensor).__name__ != "FakeTensor" for tensor in request.tensors):
        methods.append("real")
    elif recurrent:
        methods.append("meta")
    return methods


def _count(request: _Request, method: Method, reason: str | None) -> Cost:
    had_compiler = _COMPILER in sys.modules
    module, done = _pass(request, method)
    if _COMPILER in sys.modules and not had_compiler:  # torch 2.6 imports it at the first vmap; the import computes
        module, done = _pass(request, method)
    doubled = _macs_of_a_doubled_batch(request, method, done) if done.counter.provenance.unclear else None
    return assemble(module, done, training=request.training, method=method, reason=reason, doubled=doubled)


def _macs_of_a_doubled_batch(request: _Request, method: Method, done: Pass) -> dict[Group, int] | None:
    """MACs where every input as long as the first is twice as long; None if the module refuses such inputs."""
    batch = done.counter.provenance.batch

    def twice(value: object) -> object:
        if (
            not isinstance(value, Tensor)
            or not value.dim()
            or value.shape[0] != batch
            or value.layout in SPARSE_LAYOUTS
        ):
            return value
        if method == "meta":
            return torch.empty((2 * batch, *value.shape[1:]), dtype=value.dtype, device="meta")
        return torch.cat([value, value])

    args, kwargs = tree_map(twice, (tuple(request.args), dict(request.kwargs)))
    try:
        return macs_by_group(_pass(replace(request, args=args, kwargs=kwargs), method)[1].counter)
    except Exception:  # tables for one batch size, windows folded into the batch: there is no saying
        return None


def _pass(request: _Request, method: Method) -> tuple[nn.Module, Pass]:
    """One call under the counter, of a clone; gives it as well."""
    with ExitStack() as stack:
        on_shapes = bool(request.tensors) and all(tensor.is_meta for tensor in request.tensors)
        stack.enter_context(as_written(on_shapes=on_shapes))
        if method == "meta":
            stack.enter_context(uncollected())
            stack.enter_context(attention_as_on(request.device_type))
        # Tensors that are no weights keep their values: tables that shapes depend on are among them.
        cloner = stack.enter_context(cloning(method, values=True))
        module = cloner.module(request.module)
        args, kwargs = cloner.arguments((request.args, dict(request.kwargs)), request.training and request.input_grad)
        step = Step(module, args, kwargs, "training" if request.training else "inference", request.autocast)
        tree = ModuleTree(module)
        untouchable = frozenset(map(storage_of, request.tensors))
        counter = CostCounter(tree, on_meta=method == "meta", untouchable=untouchable)
        try:
            done = run_counted(counter, step)
        except Exception as error:
            if method != "real" and (why := _unsuitable(counter, error, method)) is not None:
                raise why from error
            raise explain(error, tree, step.inputs, in_backward=counter.in_backward) from error
    return module, done


def _unsuitable(counter: CostCounter, error: Exception, method: Method) -> _UnsuitableError | None:
    """Why the failure may be due to tensors without values, or None if the input is at fault.

    Whatever fails on meta tensors is tried on fake ones, which answer for a device and under autocast.
    """
    said = " ".join(str(error).split())[:160]
    if counter.needs_data is not None:
        return _UnsuitableError(f"{counter.needs_data} needs values", needs_values=True)
    if "numpy" in said:
        return _UnsuitableError("numpy computes a part", needs_values=True)
    if counter.under_autocast:
        return _UnsuitableError("an autocast block opens, and none acts on meta tensors", needs_values=False)
    if method == "meta":
        return _UnsuitableError(f"it does not run on meta tensors ({said})", needs_values=False)
    return None


def _device_type(tensors: Sequence[Tensor]) -> str:
    """Where the module would run; a meta tensor stands for one on the CPU."""
    kind = tensors[0].device.type if tensors else "cpu"
    return "cpu" if kind == "meta" else kind


def measure_really(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Cost:
    """Cost of the forward pass as it runs on the module's own device: a copy is run, no meta tensors are tried.

    Raises CostError if the module or the arguments have no values, and as `measure_cost`.
    """
    tensors = (*tensors_in((args, dict(kwargs))), *registered_tensors(module))
    request = _Request(module, args, kwargs, False, False, None, _device_type(tensors), tensors)
    if "real" not in _methods(request):
        raise CostError("a real run needs values: these tensors have none")
    with isolated(), unlogged():
        return _count(request, "real", None)


def _outer_autocast(device_type: str) -> torch.dtype | None:
    """The dtype of an autocast block around the call."""
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
