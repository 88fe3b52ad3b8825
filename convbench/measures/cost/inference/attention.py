"""Results of the fused attention kernel of the CPU: rows of scores are never kept, one log-sum-exp a row is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from convbench.measures.cost.inference.layouts import Result, same_float, strided


def _heads_within_tokens(x: Tensor) -> Tensor:
    """A tensor of x's sizes (batch, heads, tokens, width) whose memory goes from tokens to heads."""
    _batch, heads, tokens, width = x.shape
    return strided(x.shape, (tokens * heads * width, width, heads * width, 1), x.dtype)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Result:
    if not same_float(query, key, value) or query.dim() != 4:
        return None
    batch, heads, tokens, _width = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    kept = strided((batch, heads, tokens), (heads * tokens, 1, heads), dtype)
    try:
        result = torch.empty_like(query)
    except RuntimeError:
        return None
    return result, kept


def _attention_backward(_grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Result:
    if not same_float(query, key, value) or query.dim() != 4:
        return None
    return tuple(_heads_within_tokens(x) for x in (query, key, value))


INFERENCES: dict[str, Callable[..., Result]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
}
