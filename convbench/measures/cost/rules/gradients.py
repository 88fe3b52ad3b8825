"""Backward forms of element-wise functions: operations for each element of the gradient, counted as in `elementwise`.

g is the incoming gradient, σ the sigmoid (4 operations), y the forward result.
"""

from __future__ import annotations

from convbench.measures.cost.amount import Amount, Shape, first_shape
from convbench.measures.cost.table import Kind, rule

GRADIENTS = {
    "threshold_backward": 1,  # g where x > t
    "hardtanh_backward": 2,  # g where a < x < b
    "hardsigmoid_backward": 3,  # g/6 where −3 < x < 3
    "hardswish_backward": 5,  # g·(x/3 + ½) between two bounds
    "hardshrink_backward": 2,  # g where |x| > λ
    "softshrink_backward": 2,
    "leaky_relu_backward": 2,  # g, or a·g
    "rrelu_with_noise_backward": 1,  # g·noise
    "sigmoid_backward": 3,  # g·y·(1 − y)
    "tanh_backward": 3,  # g·(1 − y·y)
    "log_sigmoid_backward": 4,  # g·1/(1 + exp(x))
    "silu_backward": 9,  # g·σ·(1 + x·(1 − σ))
    "mish_backward": 14,  # g·(t + x·σ·(1 − t·t)), t = tanh(log(1 + exp(x)))
    "logit_backward": 3,  # g / (x·(1 − x))
    "glu_backward": 4,  # (g·σ, g·σ·(1 − σ)·a): 8 for a pair
    "native_dropout_backward": 2,  # g·mask·scale
    "_masked_scale": 2,
}


def _enter(name: str, operations: int) -> None:
    @rule(f"aten::{name}", kind=Kind.ELEMENTWISE)
    def per_element(*_: object, out: object, **__: object) -> Amount:
        return Amount(other_flops=operations * first_shape(out).numel())


for _name, _operations in GRADIENTS.items():
    _enter(_name, _operations)


@rule("aten::_prelu_kernel_backward", kind=Kind.ELEMENTWISE)
def prelu_backward(grad: Shape, *_: object, out: object) -> Amount:
    """Compare; a·g for the input; x·g for the slope, summed elsewhere."""
    return Amount(other_flops=3 * grad.numel())


@rule("aten::gelu_backward", kind=Kind.ELEMENTWISE)
def gelu_backward(grad: Shape, _x: Shape, *, approximate: str = "none", out: Shape) -> Amount:
    """g·(Φ(x) + x·φ(x)): Φ 4, φ 4, and 3; the tanh form's derivative takes 18."""
    return Amount(other_flops=(18 if approximate == "tanh" else 11) * out.numel())


@rule("aten::elu_backward", kind=Kind.ELEMENTWISE)
def elu_backward(
    grad: Shape, _alpha: object, scale: object, input_scale: object, is_result: bool, _x: Shape, *, out: Shape
) -> Amount:
    """Compare, then g, or g·(y + α), or g·α·exp(x)."""
    operations = (3 if is_result else 4) + (scale != 1) + (input_scale != 1)
    return Amount(other_flops=operations * out.numel())


@rule("aten::softplus_backward", kind=Kind.ELEMENTWISE)
def softplus_backward(grad: Shape, _x: Shape, beta: object, _threshold: object, *, out: Shape) -> Amount:
    """g·σ(β·x)."""
    return Amount(other_flops=(5 + (beta != 1)) * out.numel())
