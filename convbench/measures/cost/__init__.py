"""Multiply–accumulates, floating-point operations and memory traffic of a module, exact and without computing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily

if TYPE_CHECKING:
    from convbench.measures.cost.amount import Amount, Shape
    from convbench.measures.cost.crosscheck import cross_check
    from convbench.measures.cost.measure import CostError, measure_cost
    from convbench.measures.cost.reconciliation import Difference, Reconciliation, ToolCheck
    from convbench.measures.cost.result import Cost, Figures, ModuleCost, OperatorCost, Uncounted
    from convbench.measures.cost.roof import Roofline, roofline
    from convbench.measures.cost.settings import CostSettings
    from convbench.measures.cost.table import Kind, register_cost

__all__ = [
    "Amount",
    "Cost",
    "CostError",
    "CostSettings",
    "Difference",
    "Figures",
    "Kind",
    "ModuleCost",
    "OperatorCost",
    "Reconciliation",
    "Roofline",
    "Shape",
    "ToolCheck",
    "Uncounted",
    "cross_check",
    "measure_cost",
    "register_cost",
    "roofline",
]

__getattr__ = lazily(
    __name__,
    {
        "amount": "Amount Shape",
        "result": "Cost Figures ModuleCost OperatorCost Uncounted",
        "measure": "CostError measure_cost",
        "crosscheck": "cross_check",
        "reconciliation": "Difference Reconciliation ToolCheck",
        "settings": "CostSettings",
        "table": "Kind register_cost",
        "roof": "Roofline roofline",
    },
)
