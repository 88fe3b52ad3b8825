"""ResNets of pyramidal convolutions: PyConvResNet and PyConvHGResNet (arXiv:2006.11538)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from convblocks import checks
from convblocks.networks.staged import classifier, init_kaiming
from convblocks.norm import Norm, norm_builder
from convblocks.pyconv_blocks import PyConvBasicBlock1, PyConvBasicBlock2, PyConvBottleneck, shortcut

Four = tuple[int, int, int, int]
STEM_WIDTH = 64
PLANES = (64, 128, 256, 512)
KERNEL_SIZES = ((3, 5, 7, 9), (3, 5, 7), (3, 5), (3,))
BOTTLENECK_DEPTHS: dict[int, Four] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True, slots=True)
class Family:
    """What tells the families apart: how wide a bottleneck is inside, and the groups of its pyramid's levels."""

    width: int
    expansion: int
    groups: tuple[tuple[int, ...], ...]


PYCONV = Family(1, 4, ((1, 4, 8, 16), (1, 4, 8), (1, 4), (1,)))
PYCONV_HG = Family(2, 2, ((32, 32, 32, 32), (32, 64, 64), (32, 64), (32,)))


def bottleneck_stage(
    family: Family,
    index: int,
    in_channels: int,
    depth: int,
    stride: int = 2,
    dilation: int = 1,
    norm_layer: Norm = "batch",
) -> nn.Sequential:
    """Stage ``index`` (0 to 3) of bottlenecks: the first takes the stride and a pooled shortcut."""
    planes = PLANES[index] * family.width
    out_channels = planes * family.expansion

    def block(channels: int, stride: int, downsample: nn.Module | None) -> PyConvBottleneck:
        kernels, groups = KERNEL_SIZES[index], family.groups[index]
        return PyConvBottleneck(
            channels, planes, stride, kernels, groups, family.expansion, dilation, downsample, norm_layer
        )

    first = block(in_channels, stride, shortcut(in_channels, out_channels, stride, pool=True, norm_layer=norm_layer))
    return nn.Sequential(first, *(block(out_channels, 1, None) for _ in range(depth - 1)))


def _basic_stage(
    kind: type[PyConvBasicBlock1], index: int, in_channels: int, depth: int, norm_layer: Norm
) -> nn.Sequential:
    planes, kernels, groups = PLANES[index], KERNEL_SIZES[index], PYCONV.groups[index]
    first = kind(in_channels, planes, 2, kernels, groups, norm_layer=norm_layer)
    return nn.Sequential(
        first, *(kind(planes, planes, 1, kernels, groups, norm_layer=norm_layer) for _ in range(depth - 1))
    )


class PyConvResNet(nn.Module):
    """A 7×7 stem without max-pool, four halving stages, a classifier: (N, in_chans, H, W) → (N, num_classes).

    ``stages`` take 64 channels and give ``width``. A ``features_only`` network gives the stages' maps. ``norm_layer``
    is the stem's norm, ``dropout_prob0`` the rate of dropout before the classifier; ``zero_init_residual`` starts the
    last norm of every residual branch at zero, so that each block but for its ReLU is its shortcut.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        width: int,
        num_classes: int,
        in_chans: int,
        features_only: bool,
        dropout_prob0: float = 0.0,
        zero_init_residual: bool = False,
        norm_layer: Norm = "batch",
    ) -> None:
        super().__init__()
        checks.non_negative("PyConvResNet", "num_classes", num_classes)
        checks.positive("PyConvResNet", "in_chans", in_chans)
        self.num_classes, self.in_chans, self.features_only = num_classes, in_chans, features_only
        self.conv1 = nn.Conv2d(in_chans, STEM_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_builder("PyConvResNet", norm_layer)(STEM_WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        if not features_only:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.dp = nn.Dropout(checks.probability("PyConvResNet", "dropout_prob0", dropout_prob0))
            self.fc = classifier(width, num_classes)
        self.apply(init_kaiming)
        if zero_init_residual:
            self.apply(_zero_last_norm)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The four stages' maps of images x: (N, in_chans, H, W), at 1/4, 1/8, 1/16, 1/32."""
        checks.feature_map("PyConvResNet", self.in_chans, x.shape)
        x = self.relu(self.bn1(self.conv1(x)))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """x: (N, in_chans, H, W). Logits, or the stages' maps of a ``features_only`` network."""
        maps = self.forward_features(x)
        if self.features_only:
            return maps
        logits: Tensor = self.fc(self.dp(self.avgpool(maps[-1]).flatten(1)))
        return logits


def _zero_last_norm(module: nn.Module) -> None:
    """The weight of a residual branch's last norm to zero, where it has one; to be used with ``apply``."""
    if not isinstance(module, PyConvBottleneck | PyConvBasicBlock1):
        return
    last = module.bn3 if isinstance(module, PyConvBottleneck) else module.bn2
    weight = getattr(last, "weight", None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"zero_init_residual needs norms with a weight, got {last}")
    nn.init.zeros_(weight)


class _BottleneckFactory(Protocol):
    def __call__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        features_only: bool = False,
        dropout_prob0: float = 0.0,
        zero_init_residual: bool = False,
        norm_layer: Norm = "batch",
    ) -> PyConvResNet: ...


class _BasicFactory(Protocol):
    def __call__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        basic_block: int = 2,
        features_only: bool = False,
        dropout_prob0: float = 0.0,
        zero_init_residual: bool = False,
        norm_layer: Norm = "batch",
    ) -> PyConvResNet: ...


def _bottleneck_variant(name: str, family: Family, layers: int) -> _BottleneckFactory:
    depths = BOTTLENECK_DEPTHS[layers]

    def build(
        num_classes: int = 1000,
        in_chans: int = 3,
        features_only: bool = False,
        dropout_prob0: float = 0.0,
        zero_init_residual: bool = False,
        norm_layer: Norm = "batch",
    ) -> PyConvResNet:
        widths = [planes * family.width * family.expansion for planes in PLANES]
        before = (STEM_WIDTH, *widths)
        stages = [
            bottleneck_stage(family, index, before[index], depth, norm_layer=norm_layer)
            for index, depth in enumerate(depths)
        ]
        options = (dropout_prob0, zero_init_residual, norm_layer)
        return PyConvResNet(stages, widths[-1], num_classes, in_chans, features_only, *options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}: bottlenecks {depths}."
    return build


def _basic_variant(name: str, depths: Four) -> _BasicFactory:
    kinds = {1: PyConvBasicBlock1, 2: PyConvBasicBlock2}

    def build(
        num_classes: int = 1000,
        in_chans: int = 3,
        basic_block: int = 2,
        features_only: bool = False,
        dropout_prob0: float = 0.0,
        zero_init_residual: bool = False,
        norm_layer: Norm = "batch",
    ) -> PyConvResNet:
        if basic_block not in kinds:
            raise ValueError(f"{name}: basic_block must be 1 (two PyConvs) or 2 (PyConv and 1×1), got {basic_block!r}")
        before = (STEM_WIDTH, *PLANES)
        kind = kinds[basic_block]
        stages = [_basic_stage(kind, index, before[index], depth, norm_layer) for index, depth in enumerate(depths)]
        options = (dropout_prob0, zero_init_residual, norm_layer)
        return PyConvResNet(stages, PLANES[-1], num_classes, in_chans, features_only, *options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name}: basic blocks {depths}; basic_block 2 is the published form."
    return build


pyconvresnet18 = _basic_variant("pyconvresnet18", (2, 2, 2, 2))
pyconvresnet34 = _basic_variant("pyconvresnet34", (3, 4, 6, 3))
pyconvresnet50 = _bottleneck_variant("pyconvresnet50", PYCONV, 50)
pyconvresnet101 = _bottleneck_variant("pyconvresnet101", PYCONV, 101)
pyconvresnet152 = _bottleneck_variant("pyconvresnet152", PYCONV, 152)
pyconvhgresnet50 = _bottleneck_variant("pyconvhgresnet50", PYCONV_HG, 50)
pyconvhgresnet101 = _bottleneck_variant("pyconvhgresnet101", PYCONV_HG, 101)
pyconvhgresnet152 = _bottleneck_variant("pyconvhgresnet152", PYCONV_HG, 152)
