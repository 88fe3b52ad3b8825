"""The counter: a dispatch mode that sees every operator, prices it once for each set of shapes, and adds up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.execution.modules import ModuleTree, Node
from convbench.execution.tensors import MetaTensors
from convbench.measures.cost.amount import Zeros
from convbench.measures.cost.inference import infer
from convbench.measures.cost.pricing import Operator, Price, price
from convbench.measures.cost.provenance import Growth, Provenance, storage_of
from convbench.measures.cost.recipe import Recipe
from convbench.measures.cost.zeros import SOURCES, ZeroMap

Entry = tuple[Node, Price, Growth, bool]
"""Where a call ran, what it costs, whether it grows with the batch, whether it is part of the backward pass."""


class CostCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every operator that runs while it is active; ``calls`` says how often each entry came.

    On meta tensors (``on_meta``) nothing is computed: results are inferred, or remade from a call of the same shapes,
    and a stray real tensor among the operands is replaced by its meta clone; those whose storage is ``untouchable``
    (the original module's) are never written to.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without this, torch wraps ``__torch_dispatch__`` so that the first operator imports torch._dynamo."""
        return False

    def __init__(self, tree: ModuleTree, *, on_meta: bool, untouchable: frozenset[int] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tree = tree
        self.on_meta = on_meta
        self.untouchable = untouchable
        self.under_autocast = False
        self.in_backward = False
        self.paused = False
        self.macs = 0
        self.sampling_macs = 0
        self.calls: dict[Entry, int] = {}
        self.needs_data: str | None = None
        self.provenance = Provenance()
        self.zeros = ZeroMap()
        self._operators: dict[object, Operator | None] = {}
        self._prices: dict[object, tuple[Price, Recipe | None]] = {}
        self._constant_nodes: dict[int, Growth] = {}
        self._last_owner = tree.root

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run, price and record one operator; composite ones are taken apart first."""
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        try:
            operator = self._operators[func]
        except KeyError:
            operator = self._operators[func] = _describe(func)
        if operator is None:
            return func(*args, **kwargs)
        if operator.composite:
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        tensors: list[Tensor] = []
        layouts = _key(args, tensors)
        key: tuple[object, ...] = (func, layouts, _key(kwargs.items(), tensors) if kwargs else ())
        padded = self.zeros.bases or operator.name in SOURCES
        zeros: list[Zeros | None] = []
        if padded and any(zeros := [self.zeros.of(tensor) for tensor in tensors]):
            key = (*key, tuple(zeros))
        meta = self.on_meta and any(tensor.is_meta for tensor in tensors)
        if meta and _inside_autocast():
            self.under_autocast = True
            raise RuntimeError("autocast does not act on meta tensors")
        if self.on_meta and not all(tensor.is_meta for tensor in tensors):
            meta = meta or (operator.mutates and any(storage_of(tensor) in self.untouchable for tensor in tensors))
        if meta and not all(tensor.is_meta for tensor in tensors):
            args, kwargs = _to_meta(args), {name: _to_meta(value) for name, value in kwargs.items()}
        try:
            priced = self._prices.get(key)
        except TypeError:  # an argument without a hash: a packed weight, a generator
            key, priced = (object(),), None
        if priced is None:
            out: Any = infer(operator.name, args, kwargs) if meta else None
            if out is None:
                out = self._run(func, args, kwargs)
            recipe = Recipe.of(operator, out, args, layouts) if meta else None
            priced = self._prices[key] = price(operator, args, kwargs, out, zeros), recipe
        elif meta and priced[1] is not None:
            out = priced[1].make(args)
        else:
            out = self._run(func, args, kwargs)
        self._record(operator, priced[0], tensors, out)
        if padded:
            self.zeros.follow(operator, args, kwargs, out, zeros)
        return out

    def _run(self, func: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        try:
            return func(*args, **kwargs)
        except Exception as error:
            if self.needs_data is None and _lacks_data(func, error):
                self.needs_data = str(func)
            raise

    def _record(self, operator: Operator, found: Price, tensors: Sequence[Tensor], out: object) -> None:
        growth = self.provenance.spread(operator, tensors, out, leaves_batch=found.leaves_batch)
        node = self.tree.stack[-1] if self.tree.stack else None
        if node is None and self.in_backward:
            node, growth = self._owner_of_gradient()
        elif found.macs and growth is not Growth.BATCH:
            self.provenance.unclear |= growth is Growth.UNCLEAR
            self._constant_nodes[torch._C._autograd._get_sequence_nr() - 1] = growth
        self.macs += found.macs
        self.sampling_macs += found.sampling_macs
        entry = (node or self.tree.root, found, growth, self.in_backward)
        self.calls[entry] = self.calls.get(entry, 0) + 1

    def _owner_of_gradient(self) -> tuple[Node, Growth]:
        """The module whose forward made the autograd node that runs now; sums between nodes go to the last one's."""
        running = torch._C._current_autograd_node()
        if running is None:
            return self._last_owner, Growth.BATCH
        sequence = running._sequence_nr()
        self._last_owner = self.tree.owner_of(sequence)
        return self._last_owner, self._constant_nodes.get(sequence, Growth.BATCH)


def _describe(func: Any) -> Operator | None:
    """The operator's facts; None for questions about a tensor (``prim::device``) and profilers' marks."""
    if func.namespace in ("prim", "profiler"):
        return None
    if isinstance(func, torch._ops.OpOverload):
        return Operator.of(func)
    return Operator.opaque(f"higher_order::{func.name()}")


def _key(values: Any, tensors: list[Tensor]) -> tuple[object, ...]:
    """What the price depends on: layouts of tensors, everything else as it is; the tensors are gathered in passing."""
    parts: list[object] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
            parts.append((value.shape, value.dtype, value.stride() if value.layout is torch.strided else value.layout))
        elif isinstance(value, (list, tuple)):
            parts.append(_key(value, tensors))
        else:
            parts.append((type(value), value))
    return tuple(parts)


def _inside_autocast() -> bool:
    """Whether an autocast block is open; below the dispatcher ``torch.is_autocast_enabled`` always says no."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting() > 0


def _to_meta(value: Any) -> Any:
    """The value with real tensors replaced by meta tensors of the same layout."""
    if isinstance(value, Tensor):
        return value if value.is_meta else MetaTensors().copy(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_to_meta(item) for item in value)
    return value


def _lacks_data(func: Any, error: Exception) -> bool:
    """Whether an operator failed for want of values or of a meta kernel, rather than for what it was given.

    Operators from outside torch often have no meta kernel, and each has its own way to say so.
    """
    tags = getattr(func, "tags", ())
    if torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags:
        return True
    if getattr(func, "namespace", "aten") != "aten":
        return True
    missing = (
        "UnsupportedOperatorException", "UnsupportedFakeTensorException", "NotImplementedError",
        "DynamicOutputShapeException", "DataDependentOutputException",
    )  # fmt: skip
    return type(error).__name__ in missing or "meta" in str(error).lower()
