"""Sums, means, extrema, norms, softmax: operations for each element *read*, and for each result.

A reduction accumulates from its neutral element, as a multiply–accumulate does: n operations for n elements.
"""

from __future__ import annotations

from math import inf, log2, prod

from convbench.measures.cost.amount import Amount, Shape, first_shape
from convbench.measures.cost.table import Kind, rule

# (for each element read, for each result)
REDUCTIONS = {
    "sum": (1, 0),
    "nansum": (1, 0),
    "mean": (1, 1),
    "prod": (1, 0),
    "max": (1, 0),
    "min": (1, 0),
    "amax": (1, 0),
    "amin": (1, 0),
    "aminmax": (2, 0),
    "argmax": (1, 0),
    "argmin": (1, 0),
    "cumsum": (1, 0),
    "cumprod": (1, 0),
    "logsumexp": (4, 2),  # maximum, subtract, exp, sum; log, add the maximum
    "var": (4, 2),  # mean; subtract, square, sum; divide
    "var_mean": (4, 2),
    "std": (4, 3),
    "std_mean": (4, 3),
    "_softmax": (5, 0),  # maximum, subtract, exp, sum, divide
    "_safe_softmax": (5, 0),
    "_log_softmax": (5, 0),  # maximum, subtract, exp, sum, subtract; log of each row apart
    "_softmax_backward_data": (4, 0),  # y·(g − Σ g·y)
    "_log_softmax_backward_data": (4, 0),  # g − exp(y)·Σ g
    "_sparse_softmax": (5, 0),  # of the elements kept
    "_sparse_log_softmax": (5, 0),
    "_sparse_sum": (1, 0),
    "cummax": (1, 0),
    "cummin": (1, 0),
    "logcumsumexp": (4, 0),
    "_logcumsumexp": (4, 0),
    "_masked_softmax": (6, 0),
}


def _enter(name: str, each_read: int, each_result: int) -> None:
    @rule(f"aten::{name}", kind=Kind.ELEMENTWISE)
    def reduction(x: Shape, *args: object, out: object, **_: object) -> Amount:
        if not x.is_float:
            return Amount()
        parts = 2 if x.dtype.is_complex else 1
        return Amount(other_flops=parts * (each_read * x.numel() + each_result * first_shape(out).numel()))


for _name, (_each_read, _each_result) in REDUCTIONS.items():
    if _name != "_log_softmax":
        _enter(_name, _each_read, _each_result)


@rule("aten::_log_softmax", kind=Kind.ELEMENTWISE)
def log_softmax(x: Shape, dim: int, *_: object, out: Shape) -> Amount:
    """Maximum, subtract, exp, sum, subtract for each element; a logarithm for each row."""
    rows = x.numel() // max(1, x[dim]) if x else 1
    return Amount(other_flops=5 * x.numel() + rows)


@rule("aten::linalg_vector_norm", "aten::norm", kind=Kind.ELEMENTWISE)
def vector_norm(x: Shape, order: object = 2, *_: object, out: Shape, **__: object) -> Amount:
    """(Σ |x|^p)^(1/p): p = 2 square, sum and a root; p = 1 and ∞ modulus and sum or maximum; else a power more."""
    if order in (1, inf, -inf, 0):
        return Amount(other_flops=2 * x.numel())
    if order in (2, None):
        return Amount(other_flops=2 * x.numel() + out.numel())
    return Amount(other_flops=3 * x.numel() + out.numel())


@rule("aten::trace", kind=Kind.ELEMENTWISE)
def trace(x: Shape, *, out: object) -> Amount:
    """A sum over the diagonal."""
    return Amount(other_flops=min(x) if x.is_float else 0)


@rule("aten::_cdist_forward", kind=Kind.ELEMENTWISE)
def pairwise_distance(a: Shape, _b: Shape, *_: object, out: Shape) -> Amount:
    """Subtract, raise, sum for each component of each pair, and a root."""
    return Amount(other_flops=out.numel() * (3 * a[-1] + 1))


@rule("aten::_cdist_backward", kind=Kind.ELEMENTWISE)
def pairwise_distance_backward(grad: Shape, a: Shape, *_: object, out: object) -> Amount:
    """For each component of each pair: the difference, its share of the distance, times g, summed."""
    return Amount(other_flops=4 * grad.numel() * a[-1])


def _fft(points: Shape, dims: list[int], real: bool) -> int:
    """5·N·log₂ n for a complex transform of length n over N elements, half of it for a real one; rounded."""
    length = prod(points[dim] for dim in dims)
    if length < 2:
        return 0
    levels = (length - 1).bit_length() if length & (length - 1) == 0 else None
    exact = 5 * points.numel() * levels if levels is not None else round(5 * points.numel() * log2(length))
    return exact // 2 if real else exact


@rule("aten::_fft_c2c", kind=Kind.ELEMENTWISE)
def complex_fft(x: Shape, dims: list[int], *_: object, out: Shape) -> Amount:
    """5·N·log₂ n (the radix-2 count, the convention of FFT benchmarks)."""
    return Amount(other_flops=_fft(x, dims, real=False))


@rule("aten::_fft_r2c", kind=Kind.ELEMENTWISE)
def real_fft(x: Shape, dims: list[int], *_: object, out: Shape) -> Amount:
    """Half the complex count."""
    return Amount(other_flops=_fft(x, dims, real=True))


@rule("aten::_fft_c2r", kind=Kind.ELEMENTWISE)
def inverse_real_fft(x: Shape, dims: list[int], *_: object, out: Shape) -> Amount:
    """Half the complex count."""
    return Amount(other_flops=_fft(out, dims, real=True))
