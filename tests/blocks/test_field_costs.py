"""Parameters and multiply–accumulates of the field's blocks against closed forms, derived from the papers' figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import convblocks as cb
from convblocks import fuse

C, H, W, N = 32, 12, 10, 2
P = N * H * W  # pixels of the batch
DOWN = P // 4


# Block; parameters; MACs of convolutions and matrix products for a batch of two 12×10 maps of 32 channels. BN is 2C
# parameters and no MACs. A squeeze to C/r is one pixel a sample.
FORMS: list[tuple[Callable[[], nn.Module], int, int]] = [
    (lambda: cb.LKA(C), C**2 + 77 * C, P * (C**2 + 74 * C)),
    (lambda: cb.LSKA(C, 23), C**2 + (5 + 5 + 7 + 7 + 5) * C, P * (C**2 + 24 * C)),
    (lambda: cb.LSKA(C, 11), C**2 + (3 + 3 + 5 + 5 + 5) * C, P * (C**2 + 16 * C)),
    (
        lambda: cb.LSK(C),
        26 * C + 50 * C + 2 * (C + 1) * C // 2 + (C // 2 + 1) * C + 2 * 2 * 49 + 2,
        P * (74 * C + 3 * C * C // 2 + 196),
    ),
    (lambda: cb.InceptionDWConv(C), (9 + 11 + 11 + 3) * 4, P * 31 * 4),
    (
        lambda: cb.GnConv(C, order=3),
        2 * C * (C + 1) + 50 * (8 + 16 + 32) + (8 * 16 + 16) + (16 * 32 + 32) + C * (C + 1),
        P * (3 * C**2 + 49 * 56 + 8 * 16 + 16 * 32),
    ),
    (
        lambda: cb.WTConv(C, 5),
        26 * C + C + 4 * C * 25 + 4 * C,
        P * 25 * C + DOWN * 4 * C * 25 + 2 * DOWN * C * 16,  # and the transform there and back: 4×4 a quarter pixel
    ),
    (
        lambda: cb.PKI(C),
        (9 + 25 + 49 + 81 + 121 + 5) * C + C * (C + 1) + 2 * (C**2 + 2 * C) + 2 * 12 * C,
        P * (285 * C + 3 * C**2 + 22 * C),
    ),
    (
        lambda: cb.FocalModulation(C),
        (C + 1) * (2 * C + 3) + (9 + 25) * C + 2 * C * (C + 1),
        P * (C * (2 * C + 3) + 34 * C + 2 * C**2),
    ),
    (lambda: cb.MixConv(C), 8 * (9 + 25 + 49 + 81), P * 8 * (9 + 25 + 49 + 81)),
    (
        lambda: cb.Involution(C),
        C * 8 + 16 + 9 * 49 * 2,
        P * (C * 8 + 8 * 49 * 2),  # the weighted sum itself is products and a sum, no convolution
    ),
    (lambda: cb.CondConv(C), 8 * 9 * C**2 + 8 * (C + 1), P * 9 * C**2 + N * 8 * C + N * 8 * 9 * C**2),
    (
        lambda: cb.DynamicConv(C),
        4 * 9 * C**2 + 8 * C + 9 * 4,
        P * 9 * C**2 + N * (8 * C + 8 * 4) + N * 4 * 9 * C**2,
    ),
    (
        lambda: cb.ODConv(C),
        4 * 9 * C**2 + 16 * C + 32 + 17 * (C + C + 9 + 4),
        P * 9 * C**2 + N * (16 * C + 16 * (2 * C + 13)) + N * 4 * 9 * C**2,
    ),
    (lambda: cb.RepVGG(C), 10 * C**2 + 6 * C, P * 10 * C**2),
    (lambda: cb.RepVGG(C, 16, stride=2), 10 * C * 16 + 4 * 16, DOWN * 10 * C * 16),
    (lambda: cb.RepLargeKernel(C), (31**2 + 25) * C + 4 * C, P * (31**2 + 25) * C),
    (lambda: cb.DilatedReparam(C), (169 + 25 + 49 + 27) * C + 12 * C, P * (169 + 25 + 49 + 27) * C),
    (lambda: fuse(cb.RepVGG(C).eval()), 9 * C**2 + C, P * 9 * C**2),
    (lambda: fuse(cb.RepLargeKernel(C).eval()), 31**2 * C + C, P * 31**2 * C),
    (lambda: fuse(cb.DilatedReparam(C).eval()), 169 * C + C, P * 169 * C),
    (lambda: cb.PConv(C), 9 * 64, P * 9 * 64),
    (lambda: cb.FasterNetBlock(C), 9 * 64 + 4 * C**2 + 4 * C, P * (9 * 64 + 4 * C**2)),
    (lambda: cb.StarBlock(C), 100 * C + 4 * C + 12 * C**2 + 9 * C, P * (98 * C + 12 * C**2)),
    (lambda: cb.GhostConv(C), C * 16 + 9 * 16 + 4 * 16, P * (C * 16 + 9 * 16)),
    (
        lambda: cb.SCConv(C),
        2 * C + 2 * 16 * 8 + (9 * 4 * C + C) + 8 * C + 8 * (C - 8),
        P * (2 * 16 * 8 + 9 * 4 * C + 8 * C + 8 * (C - 8)),
    ),
    (lambda: cb.CoordConv(C), 9 * (C + 2) * C + C, P * 9 * (C + 2) * C),
    (lambda: cb.SE(C), 2 * C * 2 + C + 2, N * 2 * C * 2),
    (lambda: cb.ECA(C), 3, N * 3 * C),
    (lambda: cb.CBAM(C), 2 * C * 2 + 98, N * 2 * 2 * C * 2 + P * 98),
    (lambda: cb.CoordAtt(C), (C + 1) * 8 + 16 + 2 * 9 * C, N * (H + W) * C * 8 + N * (H + W) * 8 * C),
    (lambda: cb.SimAM(C), 0, 0),
    (
        lambda: cb.EMA(C),
        10 * 16 + 4 * 4,
        N * 8 * (H + W) * 16 + P * 8 * 9 * 16 + 2 * P * C,  # 1×1 on the strips, 3×3, and two weighted sums of maps
    ),
    (lambda: cb.SPDConv(C), 36 * C**2 + 2 * C, DOWN * 36 * C**2),
    (lambda: cb.HaarDownsampling(C), 4 * C**2 + 3 * C, DOWN * 4 * C**2 + DOWN * C * 16),
]


@pytest.mark.parametrize(("build", "params", "macs"), FORMS, ids=[str(index) for index in range(len(FORMS))])
def test_size_and_cost_are_the_closed_form(build: Callable[[], nn.Module], params: int, macs: int) -> None:
    module = build().eval()
    assert sum(parameter.numel() for parameter in module.parameters()) == params
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.to("meta")(torch.empty(N, C, H, W, device="meta"))
    assert counter.get_total_flops() == 2 * macs
