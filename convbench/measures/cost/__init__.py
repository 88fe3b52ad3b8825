"""Multiply–accumulates, floating-point operations and memory traffic of a module, exact and without computing it."""

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.measure import CostError, measure_cost
from convbench.measures.cost.result import Cost, Figures, ModuleCost, OperatorCost, Uncounted
from convbench.measures.cost.table import Kind, register_cost

__all__ = [
    "Amount",
    "Cost",
    "CostError",
    "Figures",
    "Kind",
    "ModuleCost",
    "OperatorCost",
    "Shape",
    "Uncounted",
    "measure_cost",
    "register_cost",
]
