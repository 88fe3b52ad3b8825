"""What the networks share: a pyramid of four stages, a classifier, initialisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from convblocks import checks


class StagedNetwork(nn.Module):
    """Four stages, each behind a down-sampling layer: images (N, in_chans, H, W) → maps at 1/4, 1/8, 1/16, 1/32.

    A subclass fills ``downsample_layers`` and ``stages`` and classifies the last map.
    """

    def __init__(self, num_classes: int, in_chans: int, features_only: bool) -> None:
        super().__init__()
        checks.non_negative(type(self).__name__, "num_classes", num_classes)
        checks.positive(type(self).__name__, "in_chans", in_chans)
        self.num_classes, self.in_chans, self.features_only = num_classes, in_chans, features_only
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()

    def classify(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of the last stage's map."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The four stages' maps of images x: (N, in_chans, H, W)."""
        checks.feature_map(type(self).__name__, self.in_chans, x.shape)
        maps = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """x: (N, in_chans, H, W). Logits, or the stages' maps of a ``features_only`` network."""
        maps = self.forward_features(x)
        return maps if self.features_only else self.classify(maps[-1])


def classifier(width: int, num_classes: int) -> nn.Module:
    """A linear classifier, or nothing for ``num_classes`` 0."""
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()


def drop_path_rates(owner: str, rate: float, depths: Sequence[int]) -> list[list[float]]:
    """The stochastic-depth rate of each block, rising linearly from 0 to ``rate``, by stage."""
    checks.probability(owner, "drop_path_rate", rate)
    step = rate / max(sum(depths) - 1, 1)
    return [[(sum(depths[:stage]) + block) * step for block in range(depth)] for stage, depth in enumerate(depths)]


def init_truncated_normal(module: nn.Module) -> None:
    """Weights of convolutions and linear layers from N(0, 0.02) within ±2, biases zero; to be used with ``apply``."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_kaiming(module: nn.Module) -> None:
    """Weights of convolutions Kaiming-normal over their outputs for ReLU; to be used with ``apply``."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
