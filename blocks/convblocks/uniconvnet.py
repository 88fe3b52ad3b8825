"""The UniConvNet block (ICCV 2025, arXiv:2508.09000)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.deform import DeformableConv
from convblocks.drop import DropPath
from convblocks.mrfa import MRFA


class UniConvNetBlock(nn.Module):
    """MRFA, deformable conv and MLP, each a scaled residual: (N, C, H, W) → (N, C, H, W).

    x += layer_scale ⊙ MRFA(x), then channels last x += gamma1 ⊙ DCN(LN(x)) and x += gamma2 ⊙ MLP(LN(x)), where the
    MLP is Linear C→4C, GELU, Linear 4C→C. The scales start at ``layer_scale_init``: at its default of 1e-6 an
    untrained block is the identity but for rounding. ``drop_path`` is the stochastic-depth rate.

    Raises ValueError unless dim is a multiple of 4 and of ``dcn_group_channels``.
    """

    def __init__(
        self, dim: int, dcn_group_channels: int = 8, drop_path: float = 0.0, layer_scale_init: float = 1e-6
    ) -> None:
        super().__init__()
        checks.positive("UniConvNetBlock", "dim", dim)
        self.attn = MRFA(dim)
        self.norm1 = nn.Sequential(nn.LayerNorm(dim, eps=1e-6))
        self.dcn = DeformableConv(dim, dcn_group_channels)
        self.norm2 = nn.Sequential(nn.LayerNorm(dim, eps=1e-6))
        layers = OrderedDict(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim))
        self.mlp = nn.Sequential(layers)
        self.layer_scale = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.gamma1 = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.gamma2 = nn.Parameter(torch.full((dim,), layer_scale_init))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        x = torch.addcmul(x, self.layer_scale[:, None, None], self.drop_path(self.attn(x)))
        x = x.permute(0, 2, 3, 1)
        x = torch.addcmul(x, self.gamma1, self.drop_path(self.dcn(self.norm1(x))))
        x = torch.addcmul(x, self.gamma2, self.drop_path(self.mlp(self.norm2(x))))
        return x.permute(0, 3, 1, 2)
