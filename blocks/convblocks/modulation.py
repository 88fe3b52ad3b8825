"""Blocks that multiply features with features: gnConv, focal modulation, StarNet's block."""

from __future__ import annotations

from torch import Tensor, nn

from convblocks import checks
from convblocks.mrfa import depthwise, pointwise


class GnConv(nn.Module):
    """Recursive gated convolution: (N, C, H, W) → (N, C, H, W), C a multiple of 2^(order − 1).

    PW C → 2C gives p₀ of C/2^(order−1) channels and q₀ … of C/2^(order−1), …, C/2, C; one DWk over all q, by ``scale``;
    p_{i+1} = PW(p_i) ⊙ q_i (the first without PW); PW C → C at the end. All with bias.
    Source: Rao et al. 2022, HorNet, equations 3.1 to 3.4.
    """

    def __init__(self, dim: int, order: int = 5, kernel_size: int = 7, scale: float = 1.0) -> None:
        super().__init__()
        checks.positive("GnConv", "order", order)
        checks.odd("GnConv", "kernel_size", kernel_size)
        parts = 2 ** (order - 1)
        self.dim = checks.multiple("GnConv", "dim", dim, parts, f"halves its channels {order - 1} times")
        self.widths = [dim // 2**power for power in reversed(range(order))]
        self.scale = scale
        self.proj_in = pointwise(dim, 2 * dim)
        self.dwconv = depthwise(sum(self.widths), kernel_size)
        self.pws = nn.ModuleList(pointwise(a, b) for a, b in zip(self.widths, self.widths[1:], strict=False))
        self.proj_out = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("GnConv", self.dim, x.shape)
        first, rest = self.proj_in(x).split((self.widths[0], sum(self.widths)), dim=1)
        gates = (self.dwconv(rest) * self.scale).split(self.widths, dim=1)
        y = first * gates[0]
        for widen, gate in zip(self.pws, gates[1:], strict=True):
            y = widen(y) * gate
        out: Tensor = self.proj_out(y)
        return out


class FocalModulation(nn.Module):
    """Focal modulation: (N, C, H, W) → (N, C, H, W).

    PW C → 2C + L + 1 gives the query, the context and the gates; L depthwise convs without bias of kernels window,
    window + factor, …, each followed by GELU, and the GELU of the last one's mean are the levels; the gated sum of the
    levels through PW multiplies the query; PW at the end.
    Source: Yang et al. 2022, Focal Modulation Networks, section 3.2.
    """

    def __init__(self, dim: int, levels: int = 2, window: int = 3, factor: int = 2) -> None:
        super().__init__()
        self.dim = checks.positive("FocalModulation", "dim", dim)
        checks.positive("FocalModulation", "levels", levels)
        checks.odd("FocalModulation", "window", window)
        checks.multiple("FocalModulation", "factor", factor, 2, "keeps its kernels odd")
        self.f = pointwise(dim, 2 * dim + levels + 1)
        kernels = [window + factor * level for level in range(levels)]
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False), nn.GELU())
            for kernel in kernels
        )
        self.act = nn.GELU()
        self.h = pointwise(dim, dim)
        self.proj = pointwise(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("FocalModulation", self.dim, x.shape)
        query, context, gates = self.f(x).split((self.dim, self.dim, len(self.focal_layers) + 1), dim=1)
        gathered: Tensor | None = None
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            gated = context * gates[:, level : level + 1]
            gathered = gated if gathered is None else gathered + gated
        assert gathered is not None
        overall = self.act(context.mean((2, 3), keepdim=True))
        y: Tensor = self.proj(query * self.h(gathered + overall * gates[:, -1:]))
        return y


class StarBlock(nn.Module):
    """StarNet's block: (N, C, H, W) → (N, C, H, W).

    x + DW7(BN(PW(relu6(PW(h)) ⊙ PW(h)))), h = BN(DW7(x)), the inner width ratio·C; all convs have a bias.
    Source: Ma et al. 2024, Rewrite the Stars, figure 3.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.dim = checks.positive("StarBlock", "dim", dim)
        hidden = checks.hidden_width("StarBlock", dim, mlp_ratio)
        self.dwconv = nn.Sequential(depthwise(dim, 7), nn.BatchNorm2d(dim))
        self.f1, self.f2 = pointwise(dim, hidden), pointwise(dim, hidden)
        self.act = nn.ReLU6()
        self.g = nn.Sequential(pointwise(hidden, dim), nn.BatchNorm2d(dim))
        self.dwconv2 = depthwise(dim, 7)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("StarBlock", self.dim, x.shape)
        h = self.dwconv(x)
        y: Tensor = self.dwconv2(self.g(self.act(self.f1(h)) * self.f2(h)))
        return x + y
