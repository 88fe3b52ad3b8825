"""The table of operators that can be evaluated on boxes: from a call to its step and outputs, one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch._ops import OpOverload, OpOverloadPacket

from convbench.measures.erf.demand.graph import Call, Step, Value

Rule = Callable[[Call], tuple[Step, Sequence[Value]]]

RULES: dict[OpOverload, Rule] = {}


def rule(*operators: OpOverload | OpOverloadPacket) -> Callable[[Rule], Rule]:
    """Register the function for these operators, every overload where a packet is given."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            overloads = (
                [getattr(operator, name) for name in operator.overloads()]  # type: ignore[no-untyped-call]
                if isinstance(operator, OpOverloadPacket)
                else [operator]
            )
            RULES.update(dict.fromkeys(overloads, function))
        return function

    return register
