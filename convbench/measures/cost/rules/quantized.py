"""Layers on quantised tensors: their multiply–accumulates are of integers.

Weights arrive packed with their bias, and a convolution's hyper-parameters with them.
"""

from __future__ import annotations

from convbench.measures.cost.amount import Amount, Packed, Shape
from convbench.measures.cost.rules.convolution import convolution
from convbench.measures.cost.table import Kind, rule, zero_cost


@rule(
    *(f"quantized::linear{form}" for form in ("", "_relu", "_leaky_relu", "_tanh", "_dynamic", "_relu_dynamic")),
    "quantized::linear_dynamic_fp16", "quantized::linear_relu_dynamic_fp16",
    kind=Kind.INTEGER,
)  # fmt: skip
def linear(x: Shape, layer: Packed, *_: object, out: Shape, **__: object) -> Amount:
    """Every result meets one row of the weight."""
    return Amount(macs=out.numel() * layer.weight[-1], other_flops=_bias_sums(layer, out))


@rule(
    *(f"quantized::conv{rank}d{form}" for rank in (1, 2, 3) for form in ("", "_relu", "_dynamic")),
    *(f"quantized::conv_transpose{rank}d{form}" for rank in (1, 2, 3) for form in ("", "_dynamic")),
    kind=Kind.INTEGER,
)  # fmt: skip
def quantized_convolution(x: Shape, layer: Packed, *_: object, out: Shape, **__: object) -> Amount:
    """As a convolution of real numbers."""
    rank, weight = len(x) - 2, layer.weight
    if len(weight) > len(x):  # one dimension is packed as two
        weight = Shape((*weight[:2], *weight[3:]), weight.dtype)
    stride, padding, dilation = (list(values)[-rank:] for values in (layer.stride, layer.padding, layer.dilation))
    amount = convolution(x, weight, None, stride, padding, dilation, bool(layer.transposed), out=out)
    return Amount(macs=amount.macs, padding_macs=amount.padding_macs, other_flops=_bias_sums(layer, out))


@rule("quantized::conv2d_add", "quantized::conv2d_add_relu", kind=Kind.INTEGER)
def quantized_convolution_and_sum(x: Shape, _added: Shape, layer: Packed, *_: object, out: Shape) -> Amount:
    """As `quantized_convolution`; another tensor is added."""
    return quantized_convolution(x, layer, out=out)


def _bias_sums(layer: Packed, out: Shape) -> int:
    return out.numel() if layer.bias is not None else 0


@rule("quantized::matmul", kind=Kind.INTEGER)
def quantized_product(a: Shape, _b: Shape, *_: object, out: Shape) -> Amount:
    """As a product of real matrices."""
    return Amount(macs=out.numel() * a[-1])


# Element-wise on integers, or a choice among them: no floating-point operation.
zero_cost(
    f"quantized::{name}"
    for name in (
        "add", "add_relu", "add_scalar", "add_scalar_relu", "mul", "mul_relu", "mul_scalar", "mul_scalar_relu", "cat",
        "cat_relu", "leaky_relu", "prelu", "hardswish", "sigmoid", "relu6", "elu", "celu", "clamp", "threshold",
        "dropout", "batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d", "batch_norm_relu", "batch_norm1d_relu",
        "batch_norm2d_relu", "batch_norm3d_relu", "max_pool1d", "max_pool2d",
    )
)  # fmt: skip
