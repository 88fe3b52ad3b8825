"""Losses that arrive whole; the others arrive as element-wise operations and reductions.

ATen's reductions: 0 none, 1 mean, 2 sum.
"""

from __future__ import annotations

from convbench.measures.cost.amount import Amount, Shape, first_shape
from convbench.measures.cost.table import Kind, rule

# operations for each element: forward, backward
_LOSSES: dict[str, tuple[int, int | None]] = {
    "mse_loss": (2, 3),  # (x − y)²; 2·(x − y)·g
    "smooth_l1_loss": (5, 5),  # |d| < β ? ½·d·d/β : |d| − ½·β
    "huber_loss": (5, 4),  # |d| < δ ? ½·d·d : δ·(|d| − ½·δ)
    "binary_cross_entropy": (7, 5),  # −(y·log p + (1 − y)·log(1 − p)); g·(p − y)/(p·(1 − p))
    "binary_cross_entropy_with_logits": (11, None),  # (1 − y)·x + max(−x, 0) + log(1 + exp(−|x|))
    "soft_margin_loss": (5, 6),  # log(1 + exp(−y·x))
}


def _enter(name: str, each: int, each_backward: int | None) -> None:
    @rule(f"aten::{name}", kind=Kind.ELEMENTWISE)
    def loss(x: Shape, target: Shape, *rest: object, out: Shape) -> Amount:
        reduction = next((item for item in rest if type(item) is int), 1)
        reducing = {0: 0, 1: x.numel() + 1, 2: x.numel()}[reduction]
        return Amount(other_flops=each * x.numel() + reducing)

    if each_backward is None:
        return

    @rule(f"aten::{name}_backward", kind=Kind.ELEMENTWISE)
    def loss_backward(_grad: Shape, x: Shape, *_: object, out: object) -> Amount:
        return Amount(other_flops=each_backward * x.numel())


for _name, (_each, _each_backward) in _LOSSES.items():
    _enter(_name, _each, _each_backward)


@rule("aten::nll_loss_forward", "aten::nll_loss2d_forward", kind=Kind.ELEMENTWISE)
def negative_log_likelihood(
    _x: Shape, target: Shape, weight: Shape | None, reduction: int, *_: object, out: object
) -> Amount:
    """A negated pick for each target, weighted where weights are given, summed, divided."""
    each = 1 + (2 if weight is not None else 0) + (reduction != 0)
    return Amount(other_flops=each * target.numel() + (reduction == 1))


@rule("aten::nll_loss_backward", "aten::nll_loss2d_backward", kind=Kind.ELEMENTWISE)
def negative_log_likelihood_backward(_grad: Shape, _x: Shape, target: Shape, *_: object, out: object) -> Amount:
    """One value a target: −g·w or −g/n."""
    return Amount(other_flops=2 * target.numel() if first_shape(out).is_float else 0)
