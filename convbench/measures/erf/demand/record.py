"""Recording a forward pass without computing it: hollow tensors that only know their shape go through the module.

Whatever the input does not reach (a kernel refocused from a basis, a grid of coordinates) is computed for real and
becomes a constant. Nothing is allocated for what it does reach, so that recording costs the same at any image size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from convbench.measures.erf.demand import channelwise, rearrange, resample, window
from convbench.measures.erf.demand.graph import Call, Graph, Operand, Value
from convbench.measures.erf.demand.layout import (
    HEIGHT,
    SAMPLES,
    WIDTH,
    NotLocal,
    axis_dim,
    is_plain,
    plain,
    plain_dim,
    shape_of,
)
from convbench.measures.erf.demand.local import pointwise
from convbench.measures.erf.demand.rules import RULES, Rule

aten = torch.ops.aten
_RULE_MODULES = (channelwise, rearrange, resample, window)  # importing them fills the table
_RECORDED_SAMPLES = 2  # one would look like a dimension that broadcasts
_SAME_VALUE = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh.default})


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded pass from value 0, the input, to value ``output``, a map of ``output_size`` with ``channels``."""

    graph: Graph
    output: int
    channels: int
    output_size: tuple[int, int]


class _Recorder(Protocol):
    def record(self, operator: OpOverload, leaves: Sequence[Any], spec: TreeSpec) -> Any: ...


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
        leaves, spec = tree_flatten((tuple(args), dict(kwargs or {})))
        recorder = next(leaf.recorder for leaf in leaves if isinstance(leaf, _Hollow))
        return recorder.record(operator, leaves, spec)


class _GraphRecorder:
    def __init__(self, device: torch.device) -> None:
        self.graph = Graph()
        self._device = device

    def source(self, input_shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
        """The input: (2, C, H, W), requiring a gradient."""
        channels, height, width = input_shape
        dims = (axis_dim(SAMPLES, _RECORDED_SAMPLES), plain_dim(channels), axis_dim(HEIGHT, height))
        self.graph.values.append(Value((*dims, axis_dim(WIDTH, width)), dtype))
        return self._hollow(0, [0]).requires_grad_()

    def record(self, operator: OpOverload, leaves: Sequence[Any], spec: TreeSpec) -> Any:
        """Add a step for one operator call and return its outputs. Raises NotLocal where there is no rule for it."""
        first = leaves[0]
        if operator in _SAME_VALUE:
            return self._hollow(self._operand(first).value or 0, first.family)
        in_place = operator._schema.is_mutable
        if in_place:
            if not isinstance(first, _Hollow):
                raise NotLocal(f"{operator} writes into a tensor that the input does not reach")
            operator = _out_of_place(operator)
        operands = tuple(self._operand(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        call = Call(operator, operands, spec, _named(operator, operands, spec))
        step, outputs = _rule(operator)(call)
        numbers = self.graph.add(step, outputs)
        if in_place:
            first.value = numbers[0]
            first.family[0] += 1
            first.version = first.family[0]
            return first
        is_view = any(item.alias_info is not None for item in operator._schema.returns)
        hollows = [self._hollow(number, first.family if is_view else [0]) for number in numbers]
        return hollows if _gives_list(operator) else hollows[0] if len(hollows) == 1 else tuple(hollows)

    def _hollow(self, number: int, family: list[int]) -> _Hollow:
        value = self.graph.values[number]
        hollow: _Hollow = Tensor._make_wrapper_subclass(
            _Hollow, shape_of(value.layout), dtype=value.dtype, device=self._device
        )
        hollow.recorder, hollow.value, hollow.family, hollow.version = self, number, family, family[0]
        return hollow

    def _operand(self, tensor: Tensor) -> Operand:
        if not isinstance(tensor, _Hollow):
            return Operand(plain(tensor.shape), tensor.dtype, constant=tensor.detach())
        if isinstance(tensor.grad_fn, BackwardCFunction):
            raise NotLocal(f"{type(tensor.grad_fn).__name__.removesuffix('Backward')} defines a gradient of its own")
        if tensor.version != tensor.family[0]:
            raise NotLocal("a tensor is changed in place through another view of it")
        value = self.graph.values[tensor.value]
        if not value.readable:
            raise NotLocal("the positions or statistics that an operator gives beside its result are used")
        return Operand(value.layout, value.dtype, value=tensor.value, detached=not tensor.requires_grad)


def record(
    features: Callable[[Tensor], Tensor], input_shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> Recording:
    """Record ``features`` on an input (C, H, W).

    Raises NotLocal with the operator that has no rule, or that makes a position depend on the whole image; and whatever
    the module raises on tensors without content.
    """
    recorder = _GraphRecorder(device)
    with torch.enable_grad():
        output = features(recorder.source(input_shape, dtype))
    if not isinstance(output, _Hollow):
        raise NotLocal("the output does not depend on the input")
    operand = recorder._operand(output)
    assert operand.value is not None
    samples, channels, *image = operand.layout
    expected = [axis_dim(axis, output.shape[2 + axis]) for axis in (HEIGHT, WIDTH)]
    if samples != axis_dim(SAMPLES, _RECORDED_SAMPLES) or not is_plain(channels) or list(image) != expected:
        raise NotLocal("the output is not laid out as (N, C, H, W)")
    return Recording(recorder.graph, operand.value, output.shape[1], (output.shape[2], output.shape[3]))


def _rule(operator: OpOverload) -> Rule:
    found = RULES.get(operator)
    if found is not None:
        return found
    if torch.Tag.pointwise in operator.tags and torch.Tag.nondeterministic_seeded not in operator.tags:
        return pointwise
    raise NotLocal(f"{operator} is not known to be local")


def _out_of_place(operator: OpOverload) -> OpOverload:
    """The operator that gives what this one writes into its first argument."""
    name = operator._schema.name.removeprefix("aten::")
    twin = getattr(aten, name[:-1], None) if name.endswith("_") else None
    overload = getattr(twin, operator._overloadname, None)
    if not isinstance(overload, OpOverload):
        raise NotLocal(f"{operator} writes into its arguments")
    return overload


def _named(operator: OpOverload, leaves: Sequence[Any], spec: TreeSpec) -> dict[str, Any]:
    """Arguments by the schema's names, with defaults."""
    args, kwargs = tree_unflatten(list(leaves), spec)
    named = {argument.name: argument.default_value for argument in operator._schema.arguments}
    named.update(zip((argument.name for argument in operator._schema.arguments), args, strict=False))
    return {**named, **kwargs}


def _gives_list(operator: OpOverload) -> bool:
    returns = operator._schema.returns
    return len(returns) == 1 and str(returns[0].type) == "List[Tensor]"
