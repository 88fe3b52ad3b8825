"""Matrix and vector products. A complex multiply–accumulate is four real ones.

A sparse factor takes part with the elements that it keeps; whole blocks count where blocks are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.sparse import terms_of_product
from convbench.measures.cost.table import rule


def real_macs(macs: int, operand: Shape) -> int:
    """Real multiply–accumulates: (a+bi)(c+di) has four products, and as many additions with the accumulation."""
    return 4 * macs if operand.dtype.is_complex else macs


def _terms(a: Shape, b: Shape, out: object) -> int:
    """Products of an element of ``a`` and one of ``b``: results times the length of a sum, if nothing is sparse."""
    if a.sparse is not None and b.sparse is not None:
        return terms_of_product(a.sparse.tensor, b.sparse.tensor)
    if a.sparse is not None:
        return a.sparse.nonzeros * (b[-1] if len(b) == len(a) else 1)
    if b.sparse is not None:
        return b.sparse.nonzeros * (a[-2] if len(a) == len(b) else 1)
    return prod(out if isinstance(out, Shape) else a[:0]) * a[-1]


def _added(out: Shape, beta: object, alpha: object) -> int:
    """Operations of ``beta·input + alpha·product`` besides the product; ``beta = 0`` skips the addition."""
    scalings = (beta not in (0, 1)) + (alpha != 1)
    return (int(beta != 0) + scalings) * out.numel() * (2 if out.dtype.is_complex else 1)


@rule(
    "aten::mm", "aten::bmm", "aten::_int_mm", "aten::mv", "aten::dot", "aten::vdot", "aten::_scaled_mm",
    "aten::_scaled_mm_v2", "aten::_weight_int8pack_mm", "aten::_weight_int4pack_mm", "aten::_dyn_quant_matmul_4bit",
)  # fmt: skip
def matrix_product(a: Shape, b: Shape, *_: object, out: object, **__: object) -> Amount:
    """Each output element sums over the last dimension of the first factor: out.numel() · k."""
    return Amount(macs=real_macs(_terms(a, b, out), a))


@rule("aten::_sparse_mm_reduce_impl", "aten::hspmm", "aten::_sparse_sparse_matmul")
def sparse_product(a: Shape, b: Shape, *_: object, out: object, **__: object) -> Amount:
    """As `matrix_product`, for operators that exist for sparse factors only."""
    return matrix_product(a, b, out=out)


@rule("aten::_sparse_mm_reduce_impl_backward")
def sparse_product_backward(
    a: Shape, grad: Shape, _weight: Shape, _reduce: str, _arguments: Shape, output_mask: Sequence[bool], *, out: object
) -> Amount:
    """The forward's count for each gradient asked for: of the elements kept, of the dense factor."""
    return Amount(macs=sum(map(int, output_mask)) * _terms(a, grad, out))


@rule("aten::sparse_sampled_addmm")
def sampled_product(kept: Shape, a: Shape, _b: Shape, *, beta: object = 1, alpha: object = 1, out: Shape) -> Amount:
    """Only the elements of the product that the first argument keeps are formed."""
    results = Shape((kept.sparse.nonzeros if kept.sparse is not None else out.numel(),), out.dtype)
    return Amount(macs=real_macs(results.numel() * a[-1], a), other_flops=_added(results, beta, alpha))


@rule(
    "aten::addmm", "aten::baddbmm", "aten::addmv", "aten::_addmm_activation", "aten::_sparse_addmm", "aten::sspaddmm",
)  # fmt: skip
def added_product(
    _added_to: Shape, a: Shape, b: Shape, *, beta: object = 1, alpha: object = 1, out: Shape, **_options: object
) -> Amount:  # fmt: skip
    """A product plus a matrix or a bias."""
    return Amount(macs=real_macs(_terms(a, b, out), a), other_flops=_added(out, beta, alpha))


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
