"""Attention on meta tensors as the device that they stand for runs it.

On meta tensors torch takes scaled_dot_product_attention apart into its products, scores and all, whatever the device.
Here the device's own choice among the kernels is asked for, by tensors of the same sizes that take next to no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

_OPERATOR = "scaled_dot_product_attention"
_KEY = "AutogradMeta"


@contextmanager
def attention_as_on(device_type: str) -> Iterator[None]:
    """Meanwhile attention on meta tensors runs the kernel that ``device_type`` would run for the same call."""
    if device_type not in ("cpu", "cuda") or f"aten/{_OPERATOR}/{_KEY}" in torch.library._impls:
        yield
        return

    def attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        with torch._C._DisableTorchDispatch():  # the question is no part of what a mode above counts
            choose: Callable[..., int] = torch._fused_sdp_choice
            asked = [None if x is None else _stand_in(x, device_type) for x in (query, key, value, attn_mask)]
            chosen = choose(*asked, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        mask = _added_mask(attn_mask, query.dtype)
        if chosen == SDPBackend.MATH.value:
            return _first(
                torch.ops.aten._scaled_dot_product_attention_math(
                    query, key, value, mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
                )
            )
        if device_type == "cpu":
            return _first(
                torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    query, key, value, dropout_p, is_causal, attn_mask=mask, scale=scale
                )
            )
        return _on_cuda(chosen, query, key, value, mask, dropout_p, is_causal, scale)

    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl(_OPERATOR, attention, _KEY)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        library._destroy()  # type: ignore[no-untyped-call]


def _on_cuda(
    chosen: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool,
    scale: float | None,
) -> Tensor:  # fmt: skip
    """Source: ATen, ``native/transformers/attention.cpp``: what each kernel is given."""
    if chosen == SDPBackend.FLASH_ATTENTION.value:
        width = query.shape[-1]
        scale = width**-0.5 if scale is None else scale
        padded = (torch.nn.functional.pad(tensor, (0, -tensor.shape[-1] % 8)) for tensor in (query, key, value))
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        out = _first(flash(*padded, dropout_p, is_causal, False, scale=scale))
        return out if out.shape[-1] == width else out[..., :width]
    logsumexp = any(tensor.requires_grad for tensor in (query, key, value)) and torch.is_grad_enabled()
    if chosen == SDPBackend.EFFICIENT_ATTENTION.value:
        if mask is not None:
            mask = mask.expand(*query.shape[:2], query.shape[2], key.shape[2])
        efficient = torch.ops.aten._scaled_dot_product_efficient_attention
        return _first(efficient(query, key, value, mask, logsumexp, dropout_p, is_causal, scale=scale))
    cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention
    return _first(cudnn(query, key, value, mask, logsumexp, dropout_p, is_causal, False, scale=scale))


def _first(results: tuple[Tensor, ...]) -> Tensor:
    return results[0]


def _stand_in(tensor: Tensor, device_type: str) -> Tensor:
    """A tensor of the same sizes and dtype, one row of memory behind all of it, that asks for a gradient alike."""
    step = tensor.stride(-1) if tensor.dim() else 1
    with torch.no_grad():
        row = torch.empty_strided(
            (*[1] * (tensor.dim() - 1), *tensor.shape[-1:]),
            (*[1] * (tensor.dim() - 1), step) if tensor.dim() else (),
            dtype=tensor.dtype, device=device_type,
        )  # fmt: skip
        whole = row.expand(tensor.shape).detach()
    return whole.requires_grad_(tensor.requires_grad)


def _added_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask of conditions as numbers to add, as ATen makes it."""
    if mask is None or mask.dtype is not torch.bool:
        return mask
    minus_infinity = torch.scalar_tensor(float("-inf"), dtype=dtype, device=mask.device)
    return torch.where(mask, torch.scalar_tensor(0.0, dtype=dtype, device=mask.device), minus_infinity)
