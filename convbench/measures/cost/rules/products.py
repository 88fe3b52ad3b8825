"""Matrix and vector products. A complex multiply–accumulate is four real ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import rule


def real_macs(macs: int, operand: Shape) -> int:
    """Real multiply–accumulates: (a+bi)(c+di) has four products, and as many additions with the accumulation."""
    return 4 * macs if operand.dtype.is_complex else macs


def _added(out: Shape, beta: object, alpha: object) -> int:
    """Operations of ``beta·input + alpha·product`` besides the product; ``beta = 0`` skips the addition."""
    scalings = (beta not in (0, 1)) + (alpha != 1)
    return (int(beta != 0) + scalings) * out.numel() * (2 if out.dtype.is_complex else 1)


@rule(
    "aten::mm", "aten::bmm", "aten::_int_mm", "aten::mv", "aten::dot", "aten::vdot", "aten::_scaled_mm",
    "aten::_scaled_mm_v2", "aten::_weight_int8pack_mm", "aten::_weight_int4pack_mm", "aten::_dyn_quant_matmul_4bit",
)  # fmt: skip
def matrix_product(a: Shape, *_: object, out: object, **__: object) -> Amount:
    """Each output element sums over the last dimension of the first factor: out.numel() · k."""
    result = out if isinstance(out, Shape) else a[:0]
    return Amount(macs=real_macs(prod(result) * a[-1], a))


@rule("aten::addmm", "aten::baddbmm", "aten::addmv", "aten::_addmm_activation")
def added_product(
    _added_to: Shape, a: Shape, _b: Shape, *, beta: object = 1, alpha: object = 1, out: Shape, **_options: object
) -> Amount:  # fmt: skip
    """A product plus a matrix or a bias."""
    return Amount(macs=real_macs(out.numel() * a[-1], a), other_flops=_added(out, beta, alpha))


@rule("aten::addbmm")
def summed_products(_: Shape, a: Shape, __: Shape, *, beta: object = 1, alpha: object = 1, out: Shape) -> Amount:
    """The batch of products is summed into one matrix."""
    return Amount(macs=real_macs(out.numel() * a[0] * a[-1], a), other_flops=_added(out, beta, alpha))


@rule("aten::addr")
def added_outer_product(_: Shape, a: Shape, __: Shape, *, beta: object = 1, alpha: object = 1, out: Shape) -> Amount:
    """One multiply–accumulate an element."""
    scalings = (beta not in (0, 1)) + (alpha != 1)
    return Amount(macs=real_macs(out.numel(), a), other_flops=scalings * out.numel())


@rule("aten::linear", "aten::mkldnn_linear")
def linear(x: Shape, weight: Shape, bias: Shape | None = None, *_: object, out: Shape) -> Amount:
    """Backends that keep the layer whole; elsewhere it arrives as `addmm` or `mm`."""
    return Amount(macs=real_macs(out.numel() * x[-1], x), other_flops=out.numel() if bias is not None else 0)


@rule(
    "quantized::linear", "quantized::linear_relu", "quantized::linear_dynamic", "quantized::linear_relu_dynamic",
    "quantized::linear_dynamic_fp16",
)  # fmt: skip
def quantized_linear(x: Shape, *_: object, out: Shape, **__: object) -> Amount:
    """The packed weight shows no shape; the input's last dimension is its number of columns."""
    return Amount(macs=out.numel() * x[-1], other_flops=out.numel())


@rule("aten::_trilinear")
def trilinear(
    a: Shape, b: Shape, c: Shape, expand1: list[int], expand2: list[int], expand3: list[int], sumdim: list[int],
    *_: object, out: Shape,
) -> Amount:  # fmt: skip
    """nn.Bilinear: Σ a·b·c over the whole index space; a multiplication forms a·b, a MAC adds its product with c."""
    rank = len(a) + len(expand1)
    sizes = [1] * rank
    for factor, missing in ((a, expand1), (b, expand2), (c, expand3)):
        present = [axis for axis in range(rank) if axis not in missing]
        for axis, size in zip(present, factor, strict=True):
            sizes[axis] = max(sizes[axis], size)
    terms = prod(sizes)
    return Amount(macs=real_macs(terms, a), other_flops=terms)


@rule("aten::linear_backward")
def linear_backward(x: Shape, grad: Shape, _weight: Shape, output_mask: Sequence[bool], *, out: object) -> Amount:
    """The forward's count for the gradient of the input and for that of the weight; the bias gradient sums rows."""
    asked = int(output_mask[0]) + int(output_mask[1])
    return Amount(macs=asked * grad.numel() * x[-1], other_flops=grad.numel() if output_mask[2] else 0)


@rule("aten::_grouped_mm", "aten::_scaled_grouped_mm")
def grouped_product(a: Shape, b: Shape, *_: object, out: Shape, **__: object) -> Amount:
    """Groups share out the rows (or columns) of one factor, or, where both are matrices, the terms of the sums."""
    if len(a) == len(b) == 2:
        return Amount(macs=out[-2] * out[-1] * a[-1])
    return Amount(macs=out.numel() * a[-1])


@rule("aten::affine_grid_generator")
def affine_grid(theta: Shape, *_: object, out: Shape) -> Amount:
    """Each coordinate is a row of the transformation times a homogeneous position."""
    return Amount(macs=out.numel() * theta[-1])


@rule("aten::_euclidean_dist")
def euclidean_distance(a: Shape, b: Shape, *, out: Shape) -> Amount:
    """|x|² + |y|² − 2·x·y as one product of rows lengthened by two; squares and sums, scaling, a maximum and a root."""
    return Amount(macs=out.numel() * (a[-1] + 2), other_flops=2 * (a.numel() + b.numel()) + a.numel() + 2 * out.numel())
