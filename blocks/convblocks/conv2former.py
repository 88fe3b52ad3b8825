"""The Conv2Former block (TPAMI 2024, arXiv:2211.11943)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.drop import DropPath
from convblocks.mrfa import depthwise, pointwise
from convblocks.norm import LayerNorm2d


class ConvolutionalModulation(nn.Module):
    """PW(DWk(GELU(PW x)) ⊙ PW x) of the normalised x: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.att = nn.Sequential(pointwise(dim, dim), nn.GELU(), depthwise(dim, kernel_size))
        self.v = pointwise(dim, dim)
        self.proj = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        x = self.norm(x)
        y: Tensor = self.proj(self.att(x) * self.v(x))
        return y


class ConvMLP(nn.Module):
    """PW, GELU, h + GELU(DW3 h), PW of the normalised x: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.fc1 = pointwise(dim, hidden)
        self.pos = depthwise(hidden, 3)
        self.fc2 = pointwise(hidden, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        h = self.act(self.fc1(self.norm(x)))
        y: Tensor = self.fc2(h + self.act(self.pos(h)))
        return y


class Conv2FormerBlock(nn.Module):
    """Convolutional modulation and a convolutional MLP, each a scaled residual: (N, C, H, W) → (N, C, H, W).

    With r = ``mlp_ratio``: (3 + 2r)C² + (k² + 11 + 11r)C parameters. The layer scales start at ``layer_scale_init``:
    at its default of 1e-6 an untrained block is the identity but for rounding. ``drop_path`` is the stochastic-depth
    rate.

    Raises ValueError for an even ``kernel_size`` and a ratio that is not positive.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 11,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale_init: float = 1e-6,
    ) -> None:
        super().__init__()
        checks.positive("Conv2FormerBlock", "dim", dim)
        checks.odd("Conv2FormerBlock", "kernel_size", kernel_size)
        self.dim = dim
        self.attn = ConvolutionalModulation(dim, kernel_size)
        self.mlp = ConvMLP(dim, checks.hidden_width("Conv2FormerBlock", dim, mlp_ratio))
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("Conv2FormerBlock", self.dim, x.shape)
        x = torch.addcmul(x, self.layer_scale_1[:, None, None], self.drop_path(self.attn(x)))
        return torch.addcmul(x, self.layer_scale_2[:, None, None], self.drop_path(self.mlp(x)))
