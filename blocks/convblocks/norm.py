"""LayerNorm over the channel dimension of a feature map."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks.execution import is_recorded, needs_grad, on_cpu

# Up to this many channels the CPU's fused kernel, which vectorises over them, is slower than whole-map operators.
_FEW_CHANNELS = 48


Norm = str | Callable[[int], nn.Module]
"""A norm by its name, or what builds one from a number of channels."""


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels at each pixel: (N, C, H, W) → (N, C, H, W).

    y = (x − mean) / sqrt(var + eps) · weight + bias, with the biased variance over C. The fused kernel runs on a
    channels-last view: no temporary of the input's size but the result, which is channels last (the 1×1 and depthwise
    convs that follow prefer it), and half precision accumulates in float32. Narrow channels-first maps without
    gradients on the CPU stay channels first and take two buffers, written in place.

    Parameters ``weight`` and ``bias``: (C,).
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W), any memory format and floating dtype."""
        if self._stays_channels_first(x):
            return self._in_two_buffers(x)
        pixels_first = x.permute(0, 2, 3, 1)
        return F.layer_norm(pixels_first, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    def _stays_channels_first(self, x: Tensor) -> bool:
        if is_recorded():  # before looking at sizes, which may be symbols
            return False
        _, channels, height, width = x.shape
        narrow = channels <= _FEW_CHANNELS < height * width and x.is_contiguous()
        exact = x.dtype in (torch.float32, torch.float64)
        return narrow and exact and on_cpu(x) and not needs_grad(x, self.weight, self.bias)

    def _in_two_buffers(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        scale = centred.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()
        return centred.mul_(scale).mul_(self.weight.view(-1, 1, 1)).add_(self.bias.view(-1, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


def _group_norm(channels: int) -> nn.Module:
    """GroupNorm of 32 groups, or of as many as divide both 32 and the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
    "instance": _instance_norm,
    "layer": LayerNorm2d,
}


def norm_builder(owner: str, norm: Norm) -> Callable[[int], nn.Module]:
    """What builds the named norm for a number of channels; a callable is that itself. ValueError for other names."""
    if callable(norm):
        return norm
    if norm not in _NORMS:
        raise ValueError(f"{owner}: norm must be one of {', '.join(_NORMS)}, or what builds one, got {norm!r}")
    return _NORMS[norm]
