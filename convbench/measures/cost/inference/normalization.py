"""Results of normalisation layers and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from convbench.measures.cost.inference.layouts import (
    Result,
    asked_for,
    contiguous,
    have_sizes,
    is_channels_last,
    like,
    same_float,
)


def _is_packed(x: Tensor) -> bool:
    """Contiguous, or channels last: layouts that kernels keep."""
    return x.is_contiguous() or is_channels_last(x)


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    *_: object,
) -> Result:
    if x.dim() < 2 or not _is_packed(x) or not same_float(x, weight, bias, mean, var):
        return None
    if (
        not have_sizes(x.shape[1:2], weight, bias, mean, var)
        or (mean is None and not training)
        or (training and x.numel() == x.shape[1])
    ):
        return None
    saved = x.shape[1:2] if training else (0,)
    return like(x), contiguous(saved, x.dtype), contiguous(saved, x.dtype)


def _declared_batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: object) -> Result:
    """Two forms: (running mean, running variance, training, …) and, without running statistics, (training, …)."""
    if isinstance(rest[0], Tensor) and isinstance(rest[1], Tensor):
        return _batch_norm(x, weight, bias, rest[0], rest[1], rest[2] is True)
    return _batch_norm(x, weight, bias, None, None, rest[0] is True)


def _stored_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, *_: object
) -> Result:
    return _batch_norm(x, weight, bias, mean, var, False)


def _batch_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor | None, var: Tensor | None, _save_mean: Tensor | None,
    _save_invstd: Tensor | None, _train: bool, _eps: float, output_mask: Sequence[bool],
) -> Result:  # fmt: skip
    if not _is_packed(x) or grad.shape != x.shape or not same_float(x, grad, weight, mean, var):
        return None
    results = (like(x), contiguous(x.shape[1:2], x.dtype), contiguous(x.shape[1:2], x.dtype))
    return asked_for(results, output_mask)


def _layer_norm(
    x: Tensor, normalized: Sequence[int], weight: Tensor | None, bias: Tensor | None, _eps: float
) -> Result:
    rows = x.dim() - len(normalized)
    if rows < 0 or not have_sizes(normalized, weight, bias) or tuple(x.shape[rows:]) != tuple(normalized):
        return None
    if not same_float(x, weight, bias):
        return None
    statistics = (*x.shape[:rows], *(1 for _ in normalized))
    return contiguous(x.shape, x.dtype), contiguous(statistics, x.dtype), contiguous(statistics, x.dtype)


def _layer_norm_backward(
    grad: Tensor, x: Tensor, normalized: Sequence[int], _mean: Tensor, _rstd: Tensor, weight: Tensor | None,
    bias: Tensor | None, output_mask: Sequence[bool],
) -> Result:  # fmt: skip
    if not same_float(x, grad, weight, bias) or grad.shape != x.shape:
        return None
    results = (contiguous(x.shape, x.dtype), contiguous(normalized, x.dtype), contiguous(normalized, x.dtype))
    return asked_for(results, output_mask)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, _HxW: int, groups: int, _eps: float
) -> Result:
    if not x.is_contiguous() or not same_float(x, weight, bias) or not have_sizes((C,), weight, bias) or C % groups:
        return None
    return like(x), contiguous((N, groups), x.dtype), contiguous((N, groups), x.dtype)


INFERENCES: dict[str, Callable[..., Result]] = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _declared_batch_norm,
    "_native_batch_norm_legit_no_training": _stored_batch_norm,
    "native_batch_norm_backward": _batch_norm_backward,
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_group_norm": _group_norm,
}
