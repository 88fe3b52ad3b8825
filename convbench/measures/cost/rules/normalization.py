"""Batch, layer, group and RMS normalisation, forward and backward.

n is the number of elements; statistics are taken for each channel (batch norm) or each row (the others).
A mean takes n sums and a quotient; a variance subtracts, squares and sums (3n) and divides. Batch norm folds
statistics and weights into one scale and one shift a channel (2n to apply them); the row norms multiply the centred
elements, which the variance has formed, by the inverse deviation, then by the weight, and add the bias (n each).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convbench.measures.cost.amount import Amount, Shape
from convbench.measures.cost.table import Kind, rule

_FOLD = 4  # a channel: variance + ε, its inverse root; mean·scale, the shift's subtraction
_RUNNING = 7  # a channel: (1 − m)·old + m·new for two statistics, and the variance's n/(n − 1)


def _channels(x: Shape) -> int:
    return x[1] if len(x) > 1 else 1


def _with_statistics_of_the_batch(x: Shape, weight: Shape | None, bias: Shape | None, running: Shape | None) -> Amount:
    if running is None:  # instance norm arrives so, each channel of each sample a channel
        return Amount(other_flops=_row_norm(x.numel(), _channels(x), weight, bias))
    each_channel = 2 + _FOLD + (weight is not None) + _RUNNING
    return Amount(other_flops=6 * x.numel() + each_channel * _channels(x), extra_bytes=2 * running.nbytes)


@rule("aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::miopen_batch_norm", kind=Kind.ELEMENTWISE)
def batch_norm(
    x: Shape, weight: Shape | None, bias: Shape | None, mean: Shape | None, _var: Shape | None, training: bool,
    *_: object, out: object,
) -> Amount:  # fmt: skip
    """Stored statistics: 2n and 5 a channel; those of the batch, stored for later: 6n and 14 a channel."""
    if training:
        return _with_statistics_of_the_batch(x, weight, bias, mean)
    return stored_batch_norm(x, weight, out=out)


@rule("aten::_native_batch_norm_legit_no_training", "aten::_batch_norm_no_update", kind=Kind.ELEMENTWISE)
def stored_batch_norm(x: Shape, weight: Shape | None, *_: object, out: object) -> Amount:
    """Stored statistics."""
    return Amount(other_flops=2 * x.numel() + (_FOLD + (weight is not None)) * _channels(x))


@rule("aten::_batch_norm_with_update", kind=Kind.ELEMENTWISE)
def updating_batch_norm(
    x: Shape, weight: Shape | None, bias: Shape | None, mean: Shape | None, *_: object, out: object
) -> Amount:
    """Statistics of the batch; the schema names the running ones as written, so their bytes are not extra."""
    return Amount(other_flops=_with_statistics_of_the_batch(x, weight, bias, mean).other_flops)


@rule("aten::_native_batch_norm_legit", kind=Kind.ELEMENTWISE)
def declared_batch_norm(
    x: Shape, weight: Shape | None, bias: Shape | None, mean: Shape, var: Shape, training: bool, *_: object, out: object
) -> Amount:
    """As `batch_norm`, with its writes in the schema."""
    if not training:
        return stored_batch_norm(x, weight, out=out)
    return updating_batch_norm(x, weight, bias, mean, out=out)


@rule("aten::_native_batch_norm_legit.no_stats", kind=Kind.ELEMENTWISE)
def batch_norm_without_running(x: Shape, weight: Shape | None, bias: Shape | None, *_: object, out: object) -> Amount:
    """Statistics of the batch, none kept: as a norm over rows, a channel's elements (instance norm)."""
    return _with_statistics_of_the_batch(x, weight, bias, None)


@rule("aten::native_batch_norm_backward", "aten::cudnn_batch_norm_backward", kind=Kind.ELEMENTWISE)
def batch_norm_backward(
    grad: Shape, x: Shape, weight: Shape | None, mean: object, _var: object, _save_mean: object, _save_invstd: object,
    train: bool = True, _eps: float = 0.0, output_mask: Sequence[bool] = (True, True, True), *_: object, out: object,
) -> Amount:  # fmt: skip
    """With g the gradient and d = x − mean: Σg and Σg·d (4n); (g − mean(g) − k·d)·scale (4n); 6 a channel.

    With stored statistics the input's gradient is g·scale (n), and the sums are made only for the weights. Where no
    statistics are kept (instance norm) it is a norm over rows.
    """
    n, channels = x.numel(), _channels(x)
    if train and mean is None:
        return Amount(other_flops=_row_norm_backward(n, channels, output_mask))
    if train:
        return Amount(other_flops=8 * n + 6 * channels)
    each_element = int(output_mask[0]) + 3 * int(output_mask[1]) + int(output_mask[2])
    return Amount(other_flops=each_element * n + 4 * channels)


@rule("aten::batch_norm_backward", kind=Kind.ELEMENTWISE)
def updated_batch_norm_backward(
    grad: Shape, x: Shape, weight: Shape, mean: object, var: object, save_mean: object, save_var: object, update: bool,
    eps: float, output_mask: Sequence[bool], _reserve: object, *, out: object,
) -> Amount:  # fmt: skip
    """As `batch_norm_backward`."""
    return batch_norm_backward(grad, x, weight, mean, var, save_mean, save_var, update, eps, output_mask, out=out)


def _row_norm(n: int, rows: int, weight: Shape | None, bias: Shape | None) -> int:
    """Mean (n, 1 a row), variance (3n, 1 a row), + ε and inverse root (2 a row), apply (n), weights (n each)."""
    return (5 + (weight is not None) + (bias is not None)) * n + 4 * rows


def _row_norm_backward(n: int, rows: int, output_mask: Sequence[bool]) -> int:
    """x̂ (2n); for the input: g·w, Σ, Σ·x̂ (4n), (dŷ − a − x̂·b)·rstd (4n), 2 a row; weight 2n; bias n."""
    to_input, to_weight, to_bias = (bool(asked) for asked in output_mask)
    return (2 * (to_input or to_weight) + 8 * to_input + 2 * to_weight + to_bias) * n + 2 * rows * to_input


@rule("aten::native_layer_norm", kind=Kind.ELEMENTWISE)
def layer_norm(
    x: Shape, normalized: Sequence[int], weight: Shape | None, bias: Shape | None, _eps: float, *, out: object
) -> Amount:
    """7n with weight and bias, and 4 a row."""
    n = x.numel()
    return Amount(other_flops=_row_norm(n, n // max(1, prod(normalized)), weight, bias))


@rule("aten::native_layer_norm_backward", kind=Kind.ELEMENTWISE)
def layer_norm_backward(
    grad: Shape, x: Shape, normalized: Sequence[int], _mean: Shape, _rstd: Shape, _weight: Shape | None,
    _bias: Shape | None, output_mask: Sequence[bool], *, out: object,
) -> Amount:  # fmt: skip
    """13n for all three gradients, and 2 a row."""
    n = x.numel()
    return Amount(other_flops=_row_norm_backward(n, n // max(1, prod(normalized)), output_mask))


@rule("aten::native_group_norm", kind=Kind.ELEMENTWISE)
def group_norm(
    x: Shape,
    weight: Shape | None,
    bias: Shape | None,
    N: int,
    _C: int,
    _HxW: int,
    groups: int,
    _eps: float,
    *,
    out: object,
) -> Amount:
    """As layer norm; a row is one group of one sample."""
    return Amount(other_flops=_row_norm(x.numel(), N * groups, weight, bias))


@rule("aten::native_group_norm_backward", kind=Kind.ELEMENTWISE)
def group_norm_backward(
    grad: Shape, x: Shape, _mean: Shape, _rstd: Shape, _weight: Shape | None, N: int, _C: int, _HxW: int, groups: int,
    output_mask: Sequence[bool], *, out: object,
) -> Amount:  # fmt: skip
    """As layer norm; a row is one group of one sample."""
    return Amount(other_flops=_row_norm_backward(x.numel(), N * groups, output_mask))


@rule("aten::_fused_rms_norm", kind=Kind.ELEMENTWISE)
def rms_norm(x: Shape, normalized: Sequence[int], weight: Shape | None, _eps: float | None, *, out: object) -> Amount:
    """Square and sum (2n); quotient, + ε, inverse root (3 a row); apply (n) and weight (n)."""
    n = x.numel()
    return Amount(other_flops=(3 + (weight is not None)) * n + 3 * n // max(1, prod(normalized)))


@rule("aten::_fused_rms_norm_backward", kind=Kind.ELEMENTWISE)
def rms_norm_backward(
    grad: Shape, x: Shape, normalized: Sequence[int], _rstd: Shape, _weight: Shape | None, output_mask: Sequence[bool],
    *, out: object,
) -> Amount:  # fmt: skip
    """x̂ (n); for the input g·w, Σ·x̂ (3n), (dŷ − x̂·b)·rstd (3n), 1 a row; weight 2n."""
    n = x.numel()
    to_input, to_weight = (bool(asked) for asked in output_mask)
    return Amount(other_flops=(1 + 6 * to_input + 2 * to_weight) * n + n // max(1, prod(normalized)) * to_input)


@rule("aten::_weight_norm_interface", kind=Kind.ELEMENTWISE)
def weight_norm(v: Shape, g: Shape, *_: object, out: object) -> Amount:
    """g·v/‖v‖: square and sum (2n), root and quotient (2 a row), the product (n)."""
    return Amount(other_flops=3 * v.numel() + 2 * g.numel())


@rule("aten::_weight_norm_interface_backward", kind=Kind.ELEMENTWISE)
def weight_norm_backward(grad: Shape, _v: Shape, g: Shape, *_: object, out: object) -> Amount:
    """Σ grad·v (2n); (grad − v·a)·b (3n); 4 a row for g's gradient, a and b."""
    return Amount(other_flops=5 * grad.numel() + 4 * g.numel())


# Batch norm synchronised over devices: statistics here, the rest once they are joined.
_SYNCHRONISED = {
    "batch_norm_stats": 4,  # mean and variance
    "batch_norm_elemt": 2,  # scale and shift
    "batch_norm_backward_reduce": 4,  # Σg, Σg·d
    "batch_norm_backward_elemt": 4,  # (g − mean(g) − k·d)·scale
}


def _synchronised(name: str, each: int) -> None:
    @rule(f"aten::{name}", kind=Kind.ELEMENTWISE)
    def per_element(x: Shape, *_: object, out: object) -> Amount:
        return Amount(other_flops=each * x.numel())


for _name, _each in _SYNCHRONISED.items():
    _synchronised(_name, _each)


@rule("aten::batch_norm_gather_stats", "aten::batch_norm_gather_stats_with_counts", kind=Kind.ELEMENTWISE)
def joined_statistics(_x: Shape, means: Shape, *_: object, out: object) -> Amount:
    """Weighted mean and variance over devices: six operations for each device's channel."""
    return Amount(other_flops=6 * means.numel())
