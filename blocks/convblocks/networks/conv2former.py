"""Conv2Former (TPAMI 2024, arXiv:2211.11943)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from convblocks.conv2former import Conv2FormerBlock
from convblocks.networks.staged import StagedNetwork, classifier, drop_path_rates, init_truncated_normal
from convblocks.norm import LayerNorm2d

Four = tuple[int, int, int, int]
HEAD_WIDTH = 1280


class Conv2Former(StagedNetwork):
    """Conv2Former of ``depths`` blocks a stage and ``dims`` channels: (N, in_chans, H, W) → (N, num_classes).

    ``drop_path_rate``: the stochastic-depth rate of the last block. With untrained weights the layer scales of 1e-6
    leave only the stem and the down-sampling layers visible; ``layer_scale_init`` raises them.
    """

    def __init__(
        self,
        depths: Four,
        dims: Four,
        kernel_size: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> None:
        super().__init__(num_classes, in_chans, features_only)
        rates = drop_path_rates("Conv2Former", drop_path_rate, depths)
        before = (0, *dims)
        for dim, wide, stage_rates in zip(before, dims, rates, strict=False):
            self.downsample_layers.append(_halving(dim, wide) if dim else _stem(in_chans, wide))
            blocks = (Conv2FormerBlock(wide, kernel_size, 4, rate, layer_scale_init) for rate in stage_rates)
            self.stages.append(nn.Sequential(*blocks))
        if not features_only:
            self.head = nn.Sequential(nn.Conv2d(dims[-1], HEAD_WIDTH, 1), nn.GELU(), LayerNorm2d(HEAD_WIDTH))
            self.pred = classifier(HEAD_WIDTH, num_classes)
        self.apply(init_truncated_normal)

    def classify(self, x: Tensor) -> Tensor:
        logits: Tensor = self.pred(self.head(x).mean((2, 3)))
        return logits


def _stem(in_chans: int, dim: int) -> nn.Sequential:
    half = dim // 2
    return nn.Sequential(
        nn.Conv2d(in_chans, half, 3, stride=2, padding=1, bias=False),
        nn.GELU(),
        nn.BatchNorm2d(half),
        nn.Conv2d(half, half, 3, padding=1, bias=False),
        nn.GELU(),
        nn.BatchNorm2d(half),
        nn.Conv2d(half, dim, 2, stride=2, bias=False),
    )


def _halving(dim: int, wide: int) -> nn.Sequential:
    return nn.Sequential(LayerNorm2d(dim), nn.Conv2d(dim, wide, 2, stride=2))


class _Factory(Protocol):
    def __call__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> Conv2Former: ...


def _variant(name: str, depths: Four, dim: int, kernel: int) -> _Factory:
    def build(
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> Conv2Former:
        dims = (dim, 2 * dim, 4 * dim, 8 * dim)
        return Conv2Former(depths, dims, kernel, num_classes, in_chans, drop_path_rate, layer_scale_init, features_only)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"Conv2Former-{name.rpartition('_')[2].upper()}: depths {depths}, kernel {kernel}, {dim} channels first."
    )
    return build


conv2former_n = _variant("conv2former_n", (2, 2, 8, 2), 64, 7)
conv2former_t = _variant("conv2former_t", (3, 3, 12, 3), 72, 11)
conv2former_s = _variant("conv2former_s", (4, 4, 32, 4), 72, 11)
conv2former_b = _variant("conv2former_b", (4, 4, 34, 4), 96, 11)
conv2former_l = _variant("conv2former_l", (4, 4, 48, 4), 128, 11)
