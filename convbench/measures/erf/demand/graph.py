"""A recorded forward pass: values, and the steps that compute them on boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverload

from convbench.measures.erf.demand.layout import Layout, Region, Span

Lengths = Mapping[int, int]
"""Axis → length of the box, and the number of samples."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the recorded pass.

    readable: whether a box of it can be computed from boxes and means what the whole tensor would (the indices that
    a pooling gives beside its maxima do not). If not, neither is what follows from it, and its layout may be a guess.
    """

    layout: Layout
    dtype: torch.dtype
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor argument: a recorded value, or a constant that the input does not reach.

    layout: its own. detached: whether the module cut the gradient before this use. readable: see Value.
    """

    layout: Layout
    dtype: torch.dtype
    value: int | None = None
    constant: Tensor | None = None
    detached: bool = False
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What an operator's schema says; reading it takes longer than using it.

    name: as a message shows it, ``mean`` for ``aten.mean.dim``. defaults: by argument name, in order. views: whether an
    output shares memory with an input. returns: number of outputs; is_list: whether they are one list instead.
    """

    name: str
    defaults: Mapping[str, Any]
    writes: bool
    views: bool
    returns: int
    is_list: bool


@cache
def facts(operator: OpOverload) -> Facts:
    """The facts of an operator."""
    schema = operator._schema
    return Facts(
        name=schema.name.removeprefix("aten::").lstrip("_"),
        defaults={argument.name: argument.default_value for argument in schema.arguments},
        writes=schema.is_mutable,
        views=any(item.alias_info is not None for item in schema.returns),
        returns=len(schema.returns),
        is_list=len(schema.returns) == 1 and str(schema.returns[0].type) == "List[Tensor]",
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call, its tensors as operands.

    args, kwargs: as the operator takes them. named: the same by the schema's names, with defaults.
    operands: those in args and kwargs, lists of them included, in order.
    """

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    named: Mapping[str, Any]
    operands: tuple[Operand, ...]

    @classmethod
    def of(
        cls, operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], operands: Sequence[Operand]
    ) -> Call:
        """The call with these arguments."""
        defaults = facts(operator).defaults
        named = {**defaults, **dict(zip(defaults, args, strict=False)), **kwargs}
        return cls(operator, args, kwargs, named, tuple(operands))

    @property
    def name(self) -> str:
        """The operator's name as a message shows it."""
        return facts(self.operator).name

    @property
    def returns(self) -> int:
        """How many outputs the operator has."""
        return facts(self.operator).returns

    def run(self, tensors: Sequence[Tensor], changed: Mapping[int, Any] | None = None) -> Any:
        """Call the operator on these tensors in place of its operands; ``changed``: other positional arguments."""
        rest = iter(tensors)

        def filled(argument: Any) -> Any:
            return next(rest) if isinstance(argument, Operand) else argument

        args = mapped(filled, self.args)
        kwargs = dict(zip(self.kwargs, mapped(filled, tuple(self.kwargs.values())), strict=True))
        if changed:
            args = tuple(changed.get(place, value) for place, value in enumerate(args))
        return self.operator(*args, **kwargs)


def mapped(change: Callable[[Any], Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments with ``change`` applied to each, and to the entries of those that are lists."""
    return tuple(
        [change(entry) for entry in argument] if isinstance(argument, list | tuple) else change(argument)
        for argument in arguments
    )


def leaves(arguments: tuple[Any, ...]) -> Iterator[Any]:
    """Arguments, and the entries of those that are lists."""
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from argument
        else:
            yield argument


class Boxes(Protocol):
    """The tensors computed so far, each on its box."""

    def take(self, operand: Operand, need: Region, layout: Layout | None = None) -> Tensor:
        """The part ``need`` of an operand; layout: how its dimensions follow the axes, if not by its own."""


class Step(Protocol):
    """Computes a box of its outputs from boxes of its operands."""

    @property
    def operands(self) -> Sequence[Operand]:
        """What it reads."""

    def reach(self, operand: Operand, axis: int, span: Span, within: bool) -> Span:
        """The pixels of an operand that ``span`` of the output depends on; it may pass the borders of the image.

        within: whether ``span`` lies inside; if not, as if the image went on for ever.
        """

    def run(self, boxes: Boxes, region: Region, lengths: Lengths) -> Sequence[Tensor]:
        """Every output on ``region``."""


@dataclass(slots=True)
class Graph:
    """Values and steps in the order of the pass; a step's numbers are those of the values it gives."""

    values: list[Value] = field(default_factory=list)
    steps: list[tuple[Step, tuple[int, ...]]] = field(default_factory=list)

    def add(self, step: Step, outputs: Sequence[Value]) -> range:
        """Append a step; returns the numbers of its outputs."""
        numbers = range(len(self.values), len(self.values) + len(outputs))
        self.values.extend(outputs)
        self.steps.append((step, tuple(numbers)))
        return numbers
