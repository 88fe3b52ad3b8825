"""The cost rules, one file a family of operators; importing this package enters every row in the table."""

from convbench.measures.cost.rules import (
    attention,
    convolution,
    elementwise,
    gradients,
    losses,
    movement,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    reductions,
    sampling,
)

__all__ = [
    "attention",
    "convolution",
    "elementwise",
    "gradients",
    "losses",
    "movement",
    "normalization",
    "pooling",
    "products",
    "quantized",
    "recurrent",
    "reductions",
    "sampling",
]
