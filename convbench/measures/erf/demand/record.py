"""Recording a forward pass without computing it: tensors that only know their shape go through the module.

Whatever the input does not reach (a kernel refocused from a basis, a grid of coordinates) is computed for real and
becomes a constant. Nothing is allocated for what it does reach, so that recording costs the same at any image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.measures.erf.demand import channelwise, rearrange, resample, sliding
from convbench.measures.erf.demand.graph import Call, Graph, Operand, Value, facts, leaves, mapped
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
_META = torch.device("meta")
_RULE_MODULES = (channelwise, rearrange, resample, sliding)  # importing them fills the table
_RECORDED_SAMPLES = 2  # one would look like a dimension that broadcasts
_SAME_TENSOR = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh.default})
_NEW_CONSTANTS = frozenset({aten.new_zeros.default, aten.new_ones.default, aten.new_full.default})


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded pass from value 0, the input, to value ``output``, a map of ``output_size`` with ``channels``.

    layer: the submodule that gives the output; None: the module itself.
    obstacle: why boxes of the output cannot be computed from boxes of the input; None if they can.
    unbounded: whether something on the way is known to depend on the whole image.
    operators: names of all that ran on what the input reaches.
    """

    graph: Graph
    output: int
    channels: int
    output_size: tuple[int, int]
    layer: str | None
    obstacle: str | None
    unbounded: bool
    operators: frozenset[str]


class Untraceable(Exception):  # noqa: N818 - a finding: the caller runs the module for real instead
    """A pass that tensors without content cannot follow, because it looks at the content of one."""


@dataclass(slots=True)
class _Handle:
    """What the recorder knows of a tensor without content.

    tensor: kept, so that no other takes its identity. value: its number in the graph. family: a counter of in-place
    writes shared with the tensors it is a view of; version: the count at which the value was right.
    """

    tensor: Tensor
    value: int
    family: list[int]
    version: int


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Builds the graph from the operators that run. obstacle: the first reason why a value cannot be read on boxes.

    Tensors that the input reaches are on the meta device; no operator is ever run on them.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.obstacle: str | None = None
        self.unbounded = False
        self.operators: set[str] = set()
        self._device = device
        self._handles: dict[int, _Handle] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave torch._dynamo unimported: nothing is compiled here, and importing it takes longer than recording."""
        return False

    def source(self, input_shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
        """The input: (2, C, H, W), requiring a gradient."""
        channels, height, width = input_shape
        dims = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(channels), axis_dim(HEIGHT, height))
        self.graph.values.append(Value((*dims, axis_dim(WIDTH, width)), dtype))
        return self._hollow(0, [0]).requires_grad_()

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(id(leaf) in self._handles for leaf in leaves((*args, *kwargs.values()))):
            return self._record(func, tuple(args), kwargs)
        return func(*args, **self._real(kwargs)) if kwargs else func(*args)

    def _real(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments that create a tensor where the input really is; recording moves it to the meta device."""
        return {name: self._device if value == _META else value for name, value in kwargs.items()}

    def operand(self, tensor: Tensor) -> Operand:
        """A tensor argument as the graph knows it."""
        handle = self._handles.get(id(tensor))
        if handle is None:
            return Operand(plain(tensor.shape), tensor.dtype, constant=tensor.detach())
        value = self.graph.values[handle.value]
        readable = value.readable
        if isinstance(tensor.grad_fn, BackwardCFunction):
            name = type(tensor.grad_fn).__name__.removesuffix("Backward")
            readable = self._obstructed(f"{name} defines a gradient of its own")
        elif handle.version != handle.family[0]:
            readable = self._obstructed("a tensor is changed in place through another view of it")
        elif not value.readable:
            self._obstructed("what an operator gives beside its result (positions, statistics) is used")
        return Operand(value.layout, value.dtype, handle.value, None, not tensor.requires_grad, readable)

    def _record(self, operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Add a step for one operator call and return its outputs."""
        first = self._handles.get(id(args[0]))
        if first is not None and operator in _SAME_TENSOR:
            return self._hollow(first.value, first.family, first.version)
        if first is not None and operator is aten.clone.default:
            # Values are never written to, so that a copy of one is itself.
            return self._hollow(first.value, [0])
        if operator in _NEW_CONSTANTS:
            return operator(torch.empty(0, dtype=args[0].dtype, device=self._device), *args[1:], **self._real(kwargs))
        known = facts(operator)
        self.operators.add(known.name)
        in_place = known.writes
        if in_place:
            operator = _out_of_place(operator, first is not None)
        operands: list[Operand] = []

        def seen(argument: Any) -> Any:
            if not isinstance(argument, Tensor):
                return argument
            operands.append(self.operand(argument))
            return operands[-1]

        places = mapped(seen, args)
        words = dict(zip(kwargs, mapped(seen, tuple(kwargs.values())), strict=True)) if kwargs else kwargs
        numbers = self._add(Call.of(operator, places, words, operands))
        if in_place and first is not None:
            first.family[0] += 1
            first.value, first.version = numbers[0], first.family[0]
            return args[0]
        hollows = [self._hollow(number, first.family if first and known.views else [0]) for number in numbers]
        return hollows if known.is_list else hollows[0] if len(hollows) == 1 else tuple(hollows)

    def _add(self, call: Call) -> range:
        """Add the step of a call, or what is known of its outputs where there is no step for it."""
        try:
            step, outputs = _rule(call)(call)
        except NotLocal as reason:
            self._obstructed(str(reason))
            self.unbounded |= reason.unbounded
            outputs = [Value(layout, call.operands[0].dtype) for layout in reason.layouts] or _shapes(call)
        else:
            if all(operand.readable for operand in call.operands):
                return self.graph.add(step, outputs)
        return self.graph.add_unreadable(outputs)

    def finish(self, layer: str | None, output: Tensor) -> Recording:
        """The recording up to ``output``, (N, C, H, W). Raises Untraceable where the input does not reach it."""
        operand = self.operand(output)
        if operand.value is None:
            raise Untraceable("the output does not depend on the input")
        shape = output.shape
        obstacle = None if operand.readable else self.obstacle
        expected = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(shape[1]), *_image_dims(shape))
        if operand.readable and operand.layout != expected:
            obstacle = "the output is not laid out as (N, C, H, W)"
        return Recording(
            self.graph, operand.value, shape[1], (shape[2], shape[3]), layer, obstacle,
            self.unbounded and obstacle is not None, frozenset(self.operators),
        )  # fmt: skip

    def _obstructed(self, reason: str) -> bool:
        self.obstacle = self.obstacle or reason
        return False

    def _hollow(self, number: int, family: list[int], version: int | None = None) -> Tensor:
        value = self.graph.values[number]
        hollow = torch.empty(shape_of(value.layout), dtype=value.dtype, device=_META)
        self._handles[id(hollow)] = _Handle(hollow, number, family, family[0] if version is None else version)
        return hollow


def record(
    module: nn.Module, layer: str | None, input_shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> Recording:
    """Record what ``module`` does to an input (C, H, W), up to ``layer`` or else to its last feature map.

    Raises Untraceable when the pass depends on the content of a tensor, what ``feature_map`` raises when there is no
    feature map, and whatever the module raises on its input.
    """
    recorder = _Recorder(device)
    with torch.enable_grad(), recorder:
        # A module may begin with an in-place operation, which a leaf refuses.
        x = recorder.source(input_shape, dtype).clone()
        output = module(x) if layer is None else feature_map(module, layer)(x)
        if layer is None and is_pooled(output):
            return _record_last_map(module, x, recorder)
        return recorder.finish(layer, as_features(output, "the output"))


def record_layers(
    module: nn.Module, input_shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> list[Recording]:
    """One pass, recorded up to every submodule that gives a map of more than one pixel, in the order they end in.

    The last is the module's own output, layer None, where that is such a map. Raises as ``record``.
    """
    recorder = _Recorder(device)
    found: list[Recording] = []

    def add(name: str | None, output: Tensor) -> None:
        if recorder.operand(output).value is not None:
            found.append(recorder.finish(name, output))

    with torch.enable_grad(), recorder:
        x = recorder.source(input_shape, dtype).clone()
        with watching_maps(module, add):
            output = module(x)
        if isinstance(output, Tensor) and output.dim() == 4:
            add(None, output)
    return found


def _record_last_map(module: nn.Module, x: Tensor, recorder: _Recorder) -> Recording:
    """Record the module once more, watching its submodules for the last map before it is pooled."""
    found: list[Recording] = []
    with watching_maps(module, lambda name, output: found.append(recorder.finish(name, output))):
        output = module(x)
    return found[-1] if found else recorder.finish(None, as_features(output, "the output"))


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


def _rule(call: Call) -> Rule:
    found = RULES.get(call.operator)
    if found is not None:
        return found
    tags = call.operator.tags
    if torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags:
        return pointwise
    raise NotLocal(f"{call.name} is not known to be local")


def _out_of_place(operator: OpOverload, reached: bool) -> OpOverload:
    """The operator that gives what this one writes into its first argument. Raises Untraceable.

    reached: whether the input reaches that argument already.
    """
    if not reached:
        raise Untraceable(f"{operator} writes into a tensor that the input did not reach before")
    name = operator._schema.name.removeprefix("aten::")
    twin = getattr(aten, name[:-1], None) if name.endswith("_") else None
    overload = getattr(twin, operator._overloadname, None)
    if not isinstance(overload, OpOverload):
        raise Untraceable(f"{operator} writes into its arguments")
    return overload
