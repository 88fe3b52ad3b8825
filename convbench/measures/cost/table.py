"""The table of cost rules: one row an operator, and the decorators that fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import torch

from convbench.errors import UsageError
from convbench.measures.cost.amount import Amount
from convbench.measures.cost.result import Kind as Kind

CostRule = Callable[..., Amount | int]
_Rule = TypeVar("_Rule", bound=CostRule)


class UncountedCallError(Exception):
    """Raised by a rule that has no figure for this very call: the call is entered as unknown."""


class Reads(StrEnum):
    """Which of its inputs an operator fetches from memory."""

    ALL = "all"
    NOTHING = "nothing"
    """Writes only (fills, creation)."""
    SOURCE = "source"
    """Everything but the first argument, which is overwritten (``copy_``)."""
    PICKED = "picked"
    """Of the first argument no more elements than are delivered (embedding, gather)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One operator's rule, its standing in the ledger and its memory traffic."""

    kind: Kind
    price: CostRule
    reads: Reads = Reads.ALL
    writes: bool = True
    built_in: bool = True


_ROWS: dict[str, Row] = {}


def _nothing(*_args: object, **_kwargs: object) -> Amount:
    return Amount()


UNKNOWN = Row(Kind.UNKNOWN, _nothing, built_in=False)
VIEW = Row(Kind.ZERO_COST, _nothing, reads=Reads.NOTHING, writes=False)


def rule(*names: str, kind: Kind = Kind.EXACT, reads: Reads = Reads.ALL) -> Callable[[_Rule], _Rule]:
    """Enter a function as the rule of the named operators (``"aten::mm"``; in-place and ``out=`` forms included)."""

    def enter(price: _Rule) -> _Rule:
        for name in names:
            if name in _ROWS:
                raise AssertionError(f"two rules for {name}")
            _ROWS[name] = Row(kind, price, reads)
        return price

    return enter


def zero_cost(names: Iterable[str], *, reads: Reads = Reads.ALL, writes: bool = True) -> None:
    """Enter operators that move data, or not even that, and do no floating-point arithmetic."""
    for name in names:
        if name in _ROWS:
            raise AssertionError(f"two rules for {name}")
        _ROWS[name] = Row(Kind.ZERO_COST, _nothing, reads, writes)


def register_cost(operator: str | torch._ops.OpOverload | torch._ops.OpOverloadPacket) -> Callable[[_Rule], _Rule]:
    """Register a cost rule for an operator of your own: ``@register_cost("my::op")``.

    The rule is called with the operator's own arguments, every tensor replaced by its `Shape` (a tuple of sizes with
    ``.dtype`` and ``.numel()``), and with the result's shape, or tuple of shapes, as the keyword ``out``. It returns
    the multiply–accumulates as an int, or an `Amount`.

    >>> @register_cost("my::banded_product")
    ... def banded_product(matrix, vector, bandwidth, *, out):
    ...     return out.numel() * bandwidth

    Raises UsageError for a name that is no ``namespace::operator`` and for an operator that has a built-in rule;
    registering one's own operator again replaces the rule.
    """
    name = operator if isinstance(operator, str) else _qualified_name(operator)
    namespace, separator, base = name.partition("::")
    if not (separator and namespace and base):
        raise UsageError(f"register_cost takes an operator's full name, as in 'my::op'; got {name!r}")
    _load_rules()
    known = _row_of(name)
    if known is not None and known.built_in:
        raise UsageError(f"{name} has a built-in cost rule; register_cost is for operators that have none")

    def enter(price: _Rule) -> _Rule:
        _ROWS[name] = Row(Kind.EXACT, price, built_in=False)
        return price

    return enter


def _qualified_name(operator: torch._ops.OpOverload | torch._ops.OpOverloadPacket) -> str:
    if isinstance(operator, torch._ops.OpOverload):
        return str(operator._schema.name)
    return str(operator._qualified_op_name)


def _row_of(name: str) -> Row | None:
    row = _ROWS.get(name)
    if row is None and name.endswith("_") and not name.endswith("__"):
        row = _ROWS.get(name[:-1])
    return row


def find(name: str, overload: str = "") -> Row | None:
    """The row of ``namespace::operator``, an overload's own row first; an in-place form shares its plain form's."""
    _load_rules()
    if overload and (row := _ROWS.get(f"{name}.{overload}")) is not None:
        return row
    return _row_of(name)


def _load_rules() -> None:
    from convbench.measures.cost import rules  # noqa: F401  (the families enter their rows when imported)
