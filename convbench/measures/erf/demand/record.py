"""Recording a forward pass without computing it: tensors that only know their shape go through the module.

Whatever the input does not reach (a kernel refocused from a basis, a grid of coordinates) is computed for real and
becomes a constant. Nothing is allocated for what it does reach, so that recording costs the same at any image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.errors import EmptyMapError
from convbench.measures.erf.demand import channelwise, rearrange, reorder, resample, sliding
from convbench.measures.erf.demand.calls import followed
from convbench.measures.erf.demand.graph import Call, Graph, Operand, Step, Value, facts, leaves, mapped
from convbench.measures.erf.demand.layout import (
    HEIGHT,
    SAMPLES,
    WIDTH,
    Dim,
    Layout,
    NotLocal,
    axes_of,
    axis_dim,
    plain,
    plain_dim,
    shape_of,
)
from convbench.measures.erf.demand.local import PassStep, pointwise
from convbench.measures.erf.demand.rules import RULES, Rule
from convbench.measures.erf.features import as_features, is_pooled, reached_output, watching_maps
from convbench.measures.erf.form import LAYOUTS, Form

aten = torch.ops.aten
_META = torch.device("meta")
_RULE_MODULES = (channelwise, rearrange, reorder, resample, sliding)  # importing them fills the table
_RECORDED_SAMPLES = 2  # one would look like a dimension that broadcasts
_SAME_TENSOR = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh.default})
_NEW_CONSTANTS = frozenset({aten.new_zeros.default, aten.new_ones.default, aten.new_full.default})


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded pass from value 0, the input, to value ``output``, a map of ``output_size`` with ``channels``.

    layer: the submodule that gives the output; None: the module itself.
    obstacle: why boxes of the output cannot be computed from boxes of the input; None if they can.
    unbounded: whether something on the way is known to depend on the whole image.
    operators: names of all that ran on what the input reaches. form: how the layer's own output is laid out, as it was
    given or as the operators say. is_placed: whether operators say where every pixel of the output lies.
    """

    graph: Graph
    output: int
    channels: int
    output_size: tuple[int, int]
    layer: str | None
    obstacle: str | None
    unbounded: bool
    operators: frozenset[str]
    form: Form | None
    is_placed: bool


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
        step: Step
        try:
            step, outputs = _rule(call)(call)
            readable = all(operand.readable for operand in call.operands)
        except NotLocal as reason:
            self._obstructed(str(reason))
            self.unbounded |= reason.unbounded
            outputs = [Value(layout, call.operands[0].dtype) for layout in reason.layouts] or _shapes(call)
            if torch.Tag.pointwise in call.operator.tags:
                outputs = [_beside(call, output) for output in outputs]
            step, readable = PassStep.of(call, outputs), False
        # Steps of what cannot be read are never run: they say where it lies.
        return self.graph.add(step, outputs if readable else [replace(output, readable=False) for output in outputs])

    def form(self, output: Tensor) -> Form | None:
        """How an output lies over the image, by the operators that made it; None where they do not say."""
        operand = self.operand(output)
        return None if operand.value is None else _form(operand.layout)

    def finish(self, layer: str | None, output: object, form: Form | None) -> Recording:
        """The recording up to ``output``, arranged as (N, C, H, W).

        Raises EmptyMapError where no gradient leads back from it, Untraceable where the input does not reach it.
        """
        what = "the output" if layer is None else f"layer {layer}"
        if form is None and isinstance(output, Tensor):
            form = self.form(output)
        features = as_features(output, what, form)
        operand, shape = self.operand(features), features.shape
        if operand.value is None:
            raise Untraceable("the output does not depend on the input")
        if not features.requires_grad:
            raise EmptyMapError(f"{what} is cut off from the input (detach, no_grad): its map is zero everywhere")
        obstacle = None if operand.readable else self.obstacle
        expected = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(shape[1]), *_image_dims(shape))
        is_placed = operand.layout == expected
        if operand.readable and not is_placed:
            obstacle = "the output is not laid out as (N, C, H, W)"
        return Recording(
            self.graph, operand.value, shape[1], (shape[2], shape[3]), layer, obstacle,
            self.unbounded and obstacle is not None, frozenset(self.operators), form, is_placed,
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
    module: nn.Module,
    layer: str | None,
    input_shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    form: Form | None = None,
) -> Recording:
    """Record what ``module`` does to an input (C, H, W), up to ``layer`` or else to its last feature map.

    form: how that is laid out; None: as the operators that made it say. Raises EmptyMapError where no gradient leads
    back from it, Untraceable when the pass depends on the content of a tensor, what ``feature_map`` raises when there
    is no feature map, and whatever the module raises on its input.
    """
    recorder = _Recorder(device)
    with torch.enable_grad(), recorder, followed(device):
        # A module may begin with an in-place operation, which a leaf refuses.
        x = recorder.source(input_shape, dtype).clone()
        if layer is not None:
            return recorder.finish(layer, reached_output(module, layer)(x), form)
        maps: list[Recording] = []
        last: list[Tensor] = []

        def seen(name: str, output: Tensor) -> None:
            found = recorder.form(output)
            # What a layer hands on unchanged (a dropout) is not of its making, unless it is what holds the maker.
            own = not last or last[0] is not output or f"{maps[-1].layer}.".startswith(f"{name}.")
            if found is not None and output.requires_grad and own:
                maps.append(recorder.finish(name, output, found))
                last[:] = [output]

        with watching_maps(module, seen):
            output = module(x)
        if form is None and is_pooled(output) and maps:
            return maps[-1]
        return recorder.finish(None, output, form)


def record_layers(
    module: nn.Module, input_shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> list[Recording]:
    """One pass, recorded up to every submodule that gives a map of more than one pixel, in the order they end in.

    The last is the module's own output, layer None, where that is such a map. Raises as ``record``.
    """
    recorder = _Recorder(device)
    found: list[Recording] = []

    def add(name: str | None, output: Tensor) -> None:
        form = recorder.form(output)
        is_map = form is not None or (output.dim() == 4 and output.shape[2] * output.shape[3] > 1)
        if is_map and output.requires_grad and recorder.operand(output).value is not None:
            found.append(recorder.finish(name, output, form))

    with torch.enable_grad(), recorder, followed(device):
        x = recorder.source(input_shape, dtype).clone()
        with watching_maps(module, add):
            output = module(x)
        if isinstance(output, Tensor):
            add(None, output)
    return found


def _form(layout: Layout) -> Form | None:
    """The form of a map or of tokens; None for what is neither: scores, attention between positions, heads apart."""
    letters = {(HEIGHT,): "H", (WIDTH,): "W", (HEIGHT, WIDTH): "L", (SAMPLES,): "N", (None,): "C"}
    axes = axes_of(layout)
    if HEIGHT not in axes or WIDTH not in axes:
        return None
    found = [letters.get(tuple(factor.axis for factor in dim), "?") if dim else "" for dim in layout]
    if "".join(found).replace("C", "") in ("NHW", "NL"):
        missing = iter("C")
        text = "".join(letter or next(missing, "?") for letter in found)
        return Form(text, (axes[HEIGHT], axes[WIDTH])) if text in LAYOUTS else None
    return None


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


def _beside(call: Call, output: Value) -> Value:
    """An element-wise result lies where the operand of its size does whose place is known, such as a residual sum's."""
    shape = shape_of(output.layout)
    placed = [item.layout for item in call.operands if item.value is not None and shape_of(item.layout) == shape]
    known = [layout for layout in placed if _form(layout) is not None]
    return replace(output, layout=known[0]) if known else output


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
