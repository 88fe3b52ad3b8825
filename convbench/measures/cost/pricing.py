"""What an operator's schema says about its cost, and the price of one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convbench.measures.cost.amount import Amount, Packed, Shape, Zeros, shapes_in
from convbench.measures.cost.table import UNKNOWN, VIEW, Kind, Reads, Row, UncountedCallError, find

# Created on the way with sizes that may come from the input.
_CREATORS = frozenset(
    f"aten::{name}"
    for name in (
        "zeros", "ones", "full", "empty", "empty_strided", "new_empty", "new_empty_strided", "new_zeros", "new_ones",
        "new_full", "rand", "randn", "randint", "randperm", "empty_permuted", "arange", "linspace", "logspace", "eye",
        "tril_indices", "triu_indices", "affine_grid_generator",
    )
)  # fmt: skip
_REDUCTIONS = frozenset(f"aten::{name}" for name in ("mean", "sum", "amax", "amin", "var", "prod", "logsumexp"))


def _leaves_batch(name: str, args: Sequence[Any]) -> bool:
    """Whether a call gives up the first axis of its operand, or a part of it: what follows need not grow with it."""
    if name in ("aten::select", "aten::unbind"):
        return len(args) < 2 or args[1] == 0
    if name == "aten::slice":
        return args[1] == 0 and (len(args) > 3 and args[3] is not None and args[3] < 2**62)
    if name in _REDUCTIONS and len(args) > 1:
        return 0 in args[1] if isinstance(args[1], (list, tuple)) else args[1] == 0
    return name == "aten::index_select" and args[1] == 0


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """An operator's standing facts, read once from its schema and the table."""

    name: str
    row: Row
    composite: bool
    """Made of other operators, which are counted in its stead."""
    view: bool
    creates: bool
    expands: bool
    written: tuple[int, ...] = ()
    """Positions of the arguments that it writes to and does not return."""
    mutates: bool = False
    in_place: bool = False
    """Writes to its first argument and returns it."""
    targets: frozenset[str] = frozenset()
    """Keyword arguments that receive the result (``out=``): written, not read."""

    @classmethod
    def of(cls, overload: torch._ops.OpOverload) -> Operator:
        """Facts of an ATen, torchvision or user-defined overload."""
        schema = overload._schema
        row = find(schema.name, schema.overload_name)
        qualified = f"{schema.name}.{schema.overload_name}".rstrip(".")
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(qualified, "CompositeImplicitAutograd")
        if row is None:
            row = VIEW if overload.is_view else UNKNOWN
        returned = {name for result in schema.returns if result.alias_info for name in result.alias_info.before_set}
        writes = [
            (position, argument, argument.alias_info.before_set)
            for position, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        return cls(
            name=schema.name,
            row=row,
            composite=composite,
            view=overload.is_view,
            creates=schema.name in _CREATORS,
            expands=schema.name in ("aten::expand", "aten::broadcast_to"),
            written=tuple(
                position for position, argument, aliases in writes if not argument.kwarg_only and not aliases & returned
            ),
            mutates=bool(writes),
            in_place=schema.name.endswith("_") and not schema.name.endswith("__"),
            targets=frozenset(argument.name for _, argument, _ in writes if argument.kwarg_only),
        )

    @classmethod
    def opaque(cls, name: str) -> Operator:
        """An operator without a schema to read (higher-order operators): unknown."""
        return cls(name, find(name) or UNKNOWN, composite=False, view=False, creates=False, expands=False)


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """What one call costs, as the counter adds it up; prices are keys there, told apart by identity."""

    operator: Operator
    kind: Kind
    macs: int
    sampling_macs: int
    flops: int
    bytes_moved: int
    padding_macs: int
    outputs: tuple[Shape, ...]
    leaves_batch: bool = False


def price(
    operator: Operator, args: Sequence[object], kwargs: Mapping[str, object], out: object,
    zeros: Sequence[Zeros | None] = (),
) -> Price:  # fmt: skip
    """Apply the operator's rule to the shapes of one call. zeros: of the tensors among ``args``, in order."""
    shaped = [_shaped(arg) for arg in args]
    for shape, known in zip((item for item in shaped if isinstance(item, Shape)), zeros, strict=False):
        shape.zeros = known
    options = {name: _shaped(value) for name, value in kwargs.items()}
    targets = [options.pop(name) for name in operator.targets if name in options]
    result = _shaped(out)
    kind, amount = operator.row.kind, Amount()
    try:
        given = operator.row.price(*shaped, **options, out=result)
        amount = given if isinstance(given, Amount) else Amount(macs=int(given))
    except UncountedCallError:
        kind = Kind.UNKNOWN
    return Price(
        operator=operator,
        kind=kind,
        macs=amount.macs,
        sampling_macs=amount.sampling_macs,
        flops=amount.flops,
        bytes_moved=_traffic(operator, amount, shaped, options, targets if result is None else result)
        + amount.extra_bytes,
        padding_macs=amount.padding_macs,
        outputs=tuple(Shape(shape, shape.dtype, shape.stored) for shape in shapes_in(result)),
        leaves_batch=_leaves_batch(operator.name, args),
    )


def _shaped(value: object) -> Any:
    """The value with every tensor replaced by its `Shape`."""
    if isinstance(value, Tensor):
        return Shape.of(value)
    if isinstance(value, (list, tuple)):
        return (
            tuple(_shaped(item) for item in value) if not isinstance(value, list) else [_shaped(item) for item in value]
        )
    if isinstance(value, torch.ScriptObject) and (hasattr(value, "unpack") or "rnn.CellParamsBase" in str(value)):
        return _unpacked(value)
    return value


def _unpacked(layer: Any) -> Packed | tuple[Packed, ...]:
    """The weights of a quantised layer, and how a convolution applies them; of a recurrent cell both, input's first."""
    if not hasattr(layer, "unpack"):
        (_kind, *_numbers, parts), _name = layer.__getstate__()
        return tuple(Packed(*(_shaped(item) for item in part.unpack())) for part in parts)
    weight, bias = (_shaped(item) for item in layer.unpack())
    if not hasattr(layer, "dilation"):
        return Packed(weight, bias)
    return Packed(weight, bias, layer.stride(), layer.padding(), layer.dilation(), layer.transpose())


def _traffic(
    operator: Operator, amount: Amount, args: Sequence[object], options: Mapping[str, object], out: object
) -> int:
    """Bytes of every input read once and every output written once; of a partial write only what it touches."""
    row = operator.row
    read = 0
    if operator.in_place and amount.touched is not None:
        touched = amount.touched * next(shapes_in(args)).dtype.itemsize
        return sum(shape.nbytes for shape in shapes_in([*args[1:], *options.values()])) + touched * (1 + amount.updates)
    if row.reads is Reads.ALL:
        read = sum(shape.nbytes for shape in shapes_in([*args, *options.values()]))
    elif row.reads is Reads.SOURCE:
        read = sum(shape.nbytes for shape in shapes_in(args[1:]))
    elif row.reads is Reads.PICKED:
        delivered = next(shapes_in(out), Shape((0,)))
        tables = list(shapes_in([*args, *options.values()]))
        read = sum(shape.nbytes for shape in tables[1:])
        read += min(tables[0].nbytes, delivered.numel() * tables[0].dtype.itemsize) if tables else 0
    if not row.writes:
        return read
    unreturned = [args[position] for position in operator.written if position < len(args)]
    return read + sum(shape.nbytes for shape in (*shapes_in(out), *shapes_in(unreturned)))
