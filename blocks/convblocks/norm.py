"""LayerNorm over the channel dimension of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels at each pixel: (N, C, H, W) → (N, C, H, W).

    y = (x − mean) / sqrt(var + eps) · weight + bias, with the biased variance over C. The fused kernel runs on a
    channels-last view, so that no temporary of the input's size is made but its result, and half precision accumulates
    in float32. The result is in channels-last memory format, which the 1×1 and depthwise convs that follow prefer.

    Parameters ``weight`` and ``bias``: (C,).
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W), any memory format and floating dtype."""
        pixels_first = x.permute(0, 2, 3, 1)
        return F.layer_norm(pixels_first, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"
