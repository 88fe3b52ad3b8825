"""MRFA, the multi-receptive-field aggregator of UniConvNet (ICCV 2025, arXiv:2508.09000)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convblocks import checks
from convblocks.norm import LayerNorm2d

# Module names of a popular re-write of the block, whose checkpoints load as well.
_REWRITE = {
    "ln_stage1": "norm1",
    "ln_stage2": "norm2",
    "ln_stage3": "norm3",
    "ctx_branch_s1": "a1",
    "ctx_branch_s2": "a2",
    "ctx_branch_s3": "a3",
    "gate_branch_s1": "v1",
    "gate_branch_s2": "v2",
    "gate_branch_s3": "v3",
    "post_gate_s1": "v11",
    "post_gate_s2": "v21",
    "post_gate_s3": "v31",
    "prep_quarter2": "v12",
    "prep_quarter3": "v22",
    "prep_quarter4": "v32",
    "refine3x3_s1": "conv3_1",
    "refine3x3_s2": "conv3_2",
    "refine3x3_s3": "conv3_3",
    "proj_ctx_to_q3": "proj2",
    "proj_ctx_to_q4": "proj3",
}
_REWRITE_NORM = {"gamma": "weight", "beta": "bias"}


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1×1 conv with bias."""
    return nn.Conv2d(in_channels, out_channels, 1)


def depthwise(dim: int, kernel_size: int) -> nn.Conv2d:
    """Depthwise conv with bias that keeps the size; the kernel is odd."""
    return nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)


def _context(width: int, kernel_size: int) -> nn.Sequential:
    """1×1 conv, GELU and a depthwise conv: what a layer's values are modulated by."""
    return nn.Sequential(pointwise(width, width), nn.GELU(), depthwise(width, kernel_size))


class MRFA(nn.Module):
    """Three-layer receptive-field aggregator: (N, C, H, W) → (N, C, H, W), C a multiple of 4.

    With q = C/4 and the normalised input split into four quarters, layer n = 1, 2, 3 takes the nq channels that the
    layer before gave, modulates them by a depthwise conv of kernel 7, 9, 11, and appends the next quarter of the
    input, refined by a depthwise 3×3 conv and shifted by the same context. No residual, no layer scale.
    50q² + 651q parameters; 50q² + 601q MACs per pixel.

    Raises ValueError unless dim is a multiple of 4. Checkpoints of the re-write with keys ``ln_stage1.gamma``,
    ``ctx_branch_s1``, … load as they are.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        checks.multiple("MRFA", "dim", dim, 4, "splits its channels into 4 equal parts")
        q = dim // 4
        self.dim = dim
        self.norm1 = LayerNorm2d(dim)
        self.a1 = _context(q, 7)
        self.v1, self.v11, self.v12 = pointwise(q, q), pointwise(q, q), pointwise(q, q)
        self.conv3_1 = depthwise(q, 3)
        self.norm2 = LayerNorm2d(2 * q)
        self.a2 = _context(2 * q, 9)
        self.v2, self.v21, self.v22 = pointwise(2 * q, 2 * q), pointwise(2 * q, 2 * q), pointwise(q, q)
        self.proj2, self.conv3_2 = pointwise(2 * q, q), depthwise(q, 3)
        self.norm3 = LayerNorm2d(3 * q)
        self.a3 = _context(3 * q, 11)
        self.v3, self.v31, self.v32 = pointwise(3 * q, 3 * q), pointwise(3 * q, 3 * q), pointwise(q, q)
        self.proj3, self.conv3_3 = pointwise(3 * q, q), depthwise(q, 3)
        self.register_load_state_dict_pre_hook(_accept_rewritten_keys)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        checks.feature_map("MRFA", self.dim, x.shape)
        y, *fresh = self.norm1(x).chunk(4, dim=1)
        y = self._layer(y, fresh[0], self.a1, self.v1, self.v11, self.v12, self.conv3_1, None)
        y = self._layer(self.norm2(y), fresh[1], self.a2, self.v2, self.v21, self.v22, self.conv3_2, self.proj2)
        return self._layer(self.norm3(y), fresh[2], self.a3, self.v3, self.v31, self.v32, self.conv3_3, self.proj3)

    @staticmethod
    def _layer(
        y: Tensor,
        fresh: Tensor,
        attention: nn.Module,
        value: nn.Module,
        output: nn.Module,
        prepare: nn.Module,
        refine: nn.Module,
        project: nn.Module | None,
    ) -> Tensor:
        context = attention(y)
        modulated = output(context * value(y))
        shift = context if project is None else project(context)
        return torch.cat((refine(prepare(fresh)) + shift, modulated), dim=1)


def _accept_rewritten_keys(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Rename the re-write's keys under ``prefix`` in place, before they are loaded."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name, _dot, rest = key[len(prefix) :].partition(".")
        if name in _REWRITE:
            rest = _REWRITE_NORM.get(rest, rest)
            state_dict[f"{prefix}{_REWRITE[name]}.{rest}"] = state_dict.pop(key)
