"""UniConvNet (ICCV 2025, arXiv:2508.09000)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from convblocks.deform import DeformableConv
from convblocks.networks.staged import StagedNetwork, classifier, drop_path_rates, init_truncated_normal
from convblocks.norm import LayerNorm2d
from convblocks.uniconvnet import UniConvNetBlock

Four = tuple[int, int, int, int]


class UniConvNet(StagedNetwork):
    """UniConvNet of ``depths`` blocks a stage and ``dims`` channels: (N, in_chans, H, W) → (N, num_classes).

    ``dcn_group_channels``: channels that share a deformable conv's offsets. ``drop_path_rate``: that of the last block.
    With untrained weights the layer scales of 1e-6 leave only the stem and the down-sampling layers visible;
    ``layer_scale_init`` raises them.
    """

    def __init__(
        self,
        depths: Four,
        dims: Four,
        dcn_group_channels: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> None:
        super().__init__(num_classes, in_chans, features_only)
        rates = drop_path_rates("UniConvNet", drop_path_rate, depths)
        before = (0, *dims)
        for dim, wide, stage_rates in zip(before, dims, rates, strict=False):
            self.downsample_layers.append(_halving(dim, wide) if dim else _stem(in_chans, wide))
            blocks = (UniConvNetBlock(wide, dcn_group_channels, rate, layer_scale_init) for rate in stage_rates)
            self.stages.append(nn.Sequential(*blocks))
        if not features_only:
            self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
            self.head = classifier(dims[-1], num_classes)
        self.apply(init_truncated_normal)
        for module in self.modules():
            if isinstance(module, DeformableConv):
                module.reset_parameters()

    def classify(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x.mean((2, 3))))
        return logits


def _stem(in_chans: int, dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_chans, dim // 2, 3, stride=2, padding=1),
        LayerNorm2d(dim // 2),
        nn.GELU(),
        nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        LayerNorm2d(dim),
    )


def _halving(dim: int, wide: int) -> nn.Sequential:
    return nn.Sequential(LayerNorm2d(dim), nn.Conv2d(dim, wide, 3, stride=2, padding=1))


class _Factory(Protocol):
    def __call__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> UniConvNet: ...


def _variant(name: str, depths: Four, dim: int, dcn_group_channels: int) -> _Factory:
    def build(
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 1e-6,
        features_only: bool = False,
    ) -> UniConvNet:
        dims = (dim, 2 * dim, 4 * dim, 8 * dim)
        return UniConvNet(
            depths, dims, dcn_group_channels, num_classes, in_chans, drop_path_rate, layer_scale_init, features_only
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"UniConvNet-{name.rpartition('_')[2].upper()}: depths {depths}, {dim} channels in the first stage."
    return build


uniconvnet_a = _variant("uniconvnet_a", (2, 3, 9, 2), 24, 8)
uniconvnet_p0 = _variant("uniconvnet_p0", (2, 2, 7, 2), 32, 8)
uniconvnet_p1 = _variant("uniconvnet_p1", (2, 3, 6, 3), 32, 8)
uniconvnet_p2 = _variant("uniconvnet_p2", (3, 3, 11, 3), 32, 8)
uniconvnet_n0 = _variant("uniconvnet_n0", (2, 2, 7, 2), 48, 16)
uniconvnet_n1 = _variant("uniconvnet_n1", (2, 2, 8, 3), 48, 16)
uniconvnet_n2 = _variant("uniconvnet_n2", (3, 3, 11, 3), 48, 16)
uniconvnet_n3 = _variant("uniconvnet_n3", (3, 3, 19, 3), 48, 16)
uniconvnet_t = _variant("uniconvnet_t", (3, 3, 15, 3), 64, 16)
uniconvnet_s = _variant("uniconvnet_s", (3, 3, 17, 3), 80, 16)
uniconvnet_b = _variant("uniconvnet_b", (4, 4, 13, 4), 112, 16)
uniconvnet_l = _variant("uniconvnet_l", (3, 3, 18, 3), 160, 16)
uniconvnet_xl = _variant("uniconvnet_xl", (3, 3, 22, 3), 160, 16)
