"""Recording a forward pass without computing it: hollow tensors that only know their shape go through the module.

Whatever the input does not reach (a kernel refocused from a basis, a grid of coordinates) is computed for real and
becomes a constant. Nothing is allocated for what it does reach, so that recording costs the same at any image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction

from convbench.measures.erf.demand import channelwise, rearrange, resample, window
from convbench.measures.erf.demand.graph import Call, Graph, Operand, Value, leaves, mapped
from convbench.measures.erf.demand.layout import (
    HEIGHT,
    SAMPLES,
    WIDTH,
    Dim,
    Layout,
    NotLocal,
    axis_dim,
    plain,
    plain_dim,
    shape_of,
)
from convbench.measures.erf.demand.local import pointwise
from convbench.measures.erf.demand.rules import RULES, Rule
from convbench.measures.erf.features import as_features, feature_map, is_pooled, watching_maps

aten = torch.ops.aten
_RULE_MODULES = (channelwise, rearrange, resample, window)  # importing them fills the table
_RECORDED_SAMPLES = 2  # one would look like a dimension that broadcasts
_SAME_VALUE = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh.default})


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded pass from value 0, the input, to value ``output``, a map of ``output_size`` with ``channels``.

    layer: the submodule that gives the output; None: the module itself.
    obstacle: why boxes of the output cannot be computed from boxes of the input; None if they can.
    operators: names of all that ran on what the input reaches.
    """

    graph: Graph
    output: int
    channels: int
    output_size: tuple[int, int]
    layer: str | None
    obstacle: str | None
    operators: frozenset[str]


class Untraceable(Exception):  # noqa: N818 - a finding: the caller runs the module for real instead
    """A pass that hollow tensors cannot follow, because it looks at the content of one."""


class _Recorder(Protocol):
    def record(self, operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any: ...


class _Hollow(Tensor):
    """A tensor of the recorded pass: shape, dtype and device, no content.

    value: its number in the graph. family: a counter of in-place writes shared with the tensors it is a view of;
    version: the count at which its value was right.
    """

    recorder: _Recorder
    value: int
    family: list[int]
    version: int

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operator: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        recorder = next(leaf.recorder for leaf in leaves((*args, *kwargs.values())) if isinstance(leaf, _Hollow))
        return recorder.record(operator, tuple(args), kwargs)


class _GraphRecorder:
    """Builds the graph. obstacle: the first reason why a value cannot be read on boxes."""

    def __init__(self, device: torch.device) -> None:
        self.graph = Graph()
        self.obstacle: str | None = None
        self.operators: set[str] = set()
        self._device = device

    def source(self, input_shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
        """The input: (2, C, H, W), requiring a gradient."""
        channels, height, width = input_shape
        dims = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(channels), axis_dim(HEIGHT, height))
        self.graph.values.append(Value((*dims, axis_dim(WIDTH, width)), dtype))
        return self._hollow(0, [0]).requires_grad_()

    def record(self, operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Add a step for one operator call and return its outputs."""
        first = args[0]
        if operator in _SAME_VALUE:
            return self._hollow(self.operand(first).value or 0, first.family)
        self.operators.add(operator._schema.name.removeprefix("aten::"))
        in_place = operator._schema.is_mutable
        if in_place:
            operator = _out_of_place(operator, first)
        values = mapped(self._argument, tuple(kwargs.values()))
        call = Call.of(operator, mapped(self._argument, args), dict(zip(kwargs, values, strict=True)))
        numbers = self._add(call)
        if in_place:
            first.value = numbers[0]
            first.family[0] += 1
            first.version = first.family[0]
            return first
        is_view = any(item.alias_info is not None for item in operator._schema.returns)
        hollows = [self._hollow(number, first.family if is_view else [0]) for number in numbers]
        return hollows if _gives_list(operator) else hollows[0] if len(hollows) == 1 else tuple(hollows)

    def _argument(self, argument: Any) -> Any:
        return self.operand(argument) if isinstance(argument, Tensor) else argument

    def operand(self, tensor: Tensor) -> Operand:
        """A tensor argument as the graph knows it."""
        if not isinstance(tensor, _Hollow):
            return Operand(plain(tensor.shape), tensor.dtype, constant=tensor.detach())
        value = self.graph.values[tensor.value]
        readable = value.readable
        if isinstance(tensor.grad_fn, BackwardCFunction):
            name = type(tensor.grad_fn).__name__.removesuffix("Backward")
            readable = self._obstructed(f"{name} defines a gradient of its own")
        elif tensor.version != tensor.family[0]:
            readable = self._obstructed("a tensor is changed in place through another view of it")
        elif not value.readable:
            self._obstructed("what an operator gives beside its result (positions, statistics) is used")
        return Operand(value.layout, value.dtype, tensor.value, None, not tensor.requires_grad, readable)

    def _add(self, call: Call) -> range:
        """Add the step of a call, or what is known of its outputs where there is no step for it."""
        try:
            step, outputs = _rule(call.operator)(call)
        except NotLocal as reason:
            self._obstructed(str(reason))
            outputs = _shapes(call)
        else:
            if all(operand.readable for operand in call.operands):
                return self.graph.add(step, outputs)
        return self.graph.add_unreadable(outputs)

    def _obstructed(self, reason: str) -> bool:
        self.obstacle = self.obstacle or reason
        return False

    def _hollow(self, number: int, family: list[int]) -> _Hollow:
        value = self.graph.values[number]
        hollow: _Hollow = Tensor._make_wrapper_subclass(
            _Hollow, shape_of(value.layout), dtype=value.dtype, device=self._device
        )
        hollow.recorder, hollow.value, hollow.family, hollow.version = self, number, family, family[0]
        return hollow


def record(
    module: nn.Module, layer: str | None, input_shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> Recording:
    """Record what ``module`` does to an input (C, H, W), up to ``layer`` or else to its last feature map.

    Raises Untraceable when the pass depends on the content of a tensor, what ``feature_map`` raises when there is no
    feature map, and whatever the module raises on its input.
    """
    recorder = _GraphRecorder(device)
    maps: list[tuple[str, Operand, tuple[int, ...]]] = []
    with torch.enable_grad():
        x = recorder.source(input_shape, dtype)
        if layer is not None:
            output = feature_map(module, layer)(x)
        else:
            with watching_maps(module, lambda name, found: maps.append((name, recorder.operand(found), found.shape))):
                output = module(x)
            if not (is_pooled(output) and maps):
                maps, output = [], as_features(output, "the output")
        name, operand, shape = maps[-1] if maps else (layer, recorder.operand(output), output.shape)
    if operand.value is None:
        raise Untraceable("the output does not depend on the input")
    obstacle = recorder.obstacle if not operand.readable else None
    expected = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(shape[1]), *_image_dims(shape))
    if operand.readable and operand.layout != expected:
        obstacle = "the output is not laid out as (N, C, H, W)"
    return Recording(
        recorder.graph, operand.value, shape[1], (shape[2], shape[3]), name, obstacle, frozenset(recorder.operators)
    )


def _image_dims(shape: Sequence[int]) -> tuple[Dim, Dim]:
    return axis_dim(HEIGHT, shape[2]), axis_dim(WIDTH, shape[3])


def _shapes(call: Call) -> list[Value]:
    """Outputs of a call that has no step: their shapes, by running it on tensors without storage."""
    tensors = [torch.empty(shape_of(operand.layout), dtype=operand.dtype, device="meta") for operand in call.operands]
    try:
        result = call.run(tensors)
    except Exception as error:  # an operator without a shape rule, or whose shape depends on content
        raise Untraceable(f"{call.operator} looks at the content of its input") from error
    results = [result] if isinstance(result, Tensor) else result
    return [Value(_guessed(item.shape), item.dtype, readable=False) for item in results]


def _guessed(shape: Sequence[int]) -> Layout:
    """A layout for a tensor of which only the shape is known."""
    layout = plain(shape)
    return (axis_dim(SAMPLES, shape[0]), *layout[1:]) if shape and shape[0] == _RECORDED_SAMPLES else layout


def _rule(operator: OpOverload) -> Rule:
    found = RULES.get(operator)
    if found is not None:
        return found
    if torch.Tag.pointwise in operator.tags and torch.Tag.nondeterministic_seeded not in operator.tags:
        return pointwise
    raise NotLocal(f"{operator._schema.name.removeprefix('aten::').lstrip('_')} is not known to be local")


def _out_of_place(operator: OpOverload, target: object) -> OpOverload:
    """The operator that gives what this one writes into its first argument, ``target``. Raises Untraceable."""
    if not isinstance(target, _Hollow):
        raise Untraceable(f"{operator} writes into a tensor that the input did not reach before")
    name = operator._schema.name.removeprefix("aten::")
    twin = getattr(aten, name[:-1], None) if name.endswith("_") else None
    overload = getattr(twin, operator._overloadname, None)
    if not isinstance(overload, OpOverload):
        raise Untraceable(f"{operator} writes into its arguments")
    return overload


def _gives_list(operator: OpOverload) -> bool:
    returns = operator._schema.returns
    return len(returns) == 1 and str(returns[0].type) == "List[Tensor]"
