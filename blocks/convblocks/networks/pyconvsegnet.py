"""PyConvSegNet, semantic segmentation with a pyramidal head (arXiv:2006.11538)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convblocks import checks
from convblocks.baselines import Bottleneck
from convblocks.networks.pyconvresnet import BOTTLENECK_DEPTHS, PYCONV, PYCONV_HG, STEM_WIDTH, bottleneck_stage
from convblocks.networks.staged import init_kaiming
from convblocks.norm import Norm, norm_builder
from convblocks.pyconv import PyConv4

Backbone = Literal["resnet", "pyconvresnet", "pyconvhgresnet"]
Builder = Callable[[int], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
Criterion = str | Loss
WIDTHS = (256, 512, 1024, 2048)
HEAD_WIDTH = 512
MERGED_WIDTH = 256
POOLED_SIZE = 9
# Strides of layers 3 and 4 and dilations of the same, by output stride.
_REACH = {8: ((1, 1), (2, 4)), 16: ((2, 1), (1, 2))}


def _conv_norm_relu(
    in_channels: int, out_channels: int, kernel_size: int, norm: Builder
) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return conv, norm(out_channels), nn.ReLU(inplace=True)


def _context(norm: Builder) -> list[nn.Module]:
    """1×1, PyConv4 and 1×1, each with a norm and ReLU: 2048 → 512 channels."""
    return [
        *_conv_norm_relu(WIDTHS[-1], HEAD_WIDTH, 1, norm),
        PyConv4(HEAD_WIDTH, HEAD_WIDTH),
        norm(HEAD_WIDTH),
        nn.ReLU(inplace=True),
        *_conv_norm_relu(HEAD_WIDTH, HEAD_WIDTH, 1, norm),
    ]


class LocalContext(nn.Module):
    """The pyramid on the map as it is: (N, 2048, h, w) → (N, 512, h, w)."""

    def __init__(self, norm: Builder) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_context(norm))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 2048, h, w)."""
        y: Tensor = self.layers(x)
        return y


class GlobalContext(nn.Module):
    """The pyramid on the map pooled to 9×9, and back: (N, 2048, h, w) → (N, 512, h, w)."""

    def __init__(self, norm: Builder) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(POOLED_SIZE), *_context(norm))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 2048, h, w)."""
        return F.interpolate(self.features(x), size=x.shape[2:], mode="bilinear", align_corners=True)


class MergeContext(nn.Module):
    """3×3 conv, norm and ReLU on both contexts: (N, 1024, h, w) → (N, 256, h, w)."""

    def __init__(self, norm: Builder) -> None:
        super().__init__()
        self.features = nn.Sequential(*_conv_norm_relu(2 * HEAD_WIDTH, MERGED_WIDTH, 3, norm))

    def forward(self, local_context: Tensor, global_context: Tensor) -> Tensor:
        """Both: (N, 512, h, w)."""
        y: Tensor = self.features(torch.cat((local_context, global_context), dim=1))
        return y


class PyConvHead(nn.Module):
    """Local and global context of the last map, merged: (N, 2048, h, w) → (N, 256, h, w)."""

    def __init__(self, norm: Builder) -> None:
        super().__init__()
        self.local_context = LocalContext(norm)
        self.global_context = GlobalContext(norm)
        self.merge_context = MergeContext(norm)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 2048, h, w)."""
        y: Tensor = self.merge_context(self.local_context(x), self.global_context(x))
        return y


class PyConvSegNet(nn.Module):
    """Segmentation: images (N, in_chans, H, W) → logits (N, num_classes, h, w), h = (H − 1)/8·zoom_factor + 1.

    backbone: ``resnet`` (with max-pool), ``pyconvresnet`` or ``pyconvhgresnet`` of 50, 101 or 152 ``layers``.
    ``output_stride`` 8 dilates layers 3 and 4 by 2 and 4, 16 layer 4 by 2. ``aux`` adds a classifier on layer 3.

    H − 1 and W − 1 must be multiples of 8. In training with a target the forward gives the predicted classes, the
    loss and that of the auxiliary classifier (None without one), ignoring the class ``ignore_index``. ``criterion``:
    cross_entropy, focal (Lin et al. 2017, equation 4, γ = 2), or a function of logits and classes, which then sees
    every class. ``norm_layer``: batch, group, instance, layer, or what builds one from a width.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: int,
        num_classes: int = 150,
        in_chans: int = 3,
        output_stride: int = 8,
        zoom_factor: int = 8,
        aux: bool = True,
        dropout: float = 0.1,
        ignore_index: int = 255,
        norm_layer: Norm = "batch",
        criterion: Criterion = "cross_entropy",
    ) -> None:
        super().__init__()
        norm = norm_builder("PyConvSegNet", norm_layer)
        self.criterion = _criterion(criterion, ignore_index)
        checks.positive("PyConvSegNet", "num_classes", num_classes)
        checks.positive("PyConvSegNet", "in_chans", in_chans)
        checks.probability("PyConvSegNet", "dropout", dropout)
        if output_stride not in _REACH:
            raise ValueError(f"PyConvSegNet: output_stride must be 8 or 16, got {output_stride!r}")
        if zoom_factor not in (1, 2, 4, 8):
            raise ValueError(f"PyConvSegNet: zoom_factor must be 1, 2, 4 or 8, got {zoom_factor!r}")
        self.in_chans, self.zoom_factor = in_chans, zoom_factor
        pooled = [nn.MaxPool2d(3, stride=2, padding=1)] if backbone == "resnet" else []
        self.layer0 = nn.Sequential(
            nn.Conv2d(in_chans, STEM_WIDTH, 7, stride=2, padding=3, bias=False),
            norm(STEM_WIDTH),
            nn.ReLU(inplace=True),
            *pooled,
        )
        stages = _stages(backbone, layers, output_stride, norm)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pyconvhead = PyConvHead(norm)
        self.cls = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(MERGED_WIDTH, num_classes, 1))
        self.aux: nn.Sequential | None = None
        if aux:
            self.aux = nn.Sequential(
                *_conv_norm_relu(WIDTHS[2], MERGED_WIDTH, 3, norm),
                nn.Dropout2d(dropout),
                nn.Conv2d(MERGED_WIDTH, num_classes, 1),
            )
        self.apply(init_kaiming)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor | None]:
        """x: (N, in_chans, H, W); target: (N, H, W) class numbers, read in training only.

        Returns logits (N, num_classes, h, w); in training with a target (classes (N, h, w), loss, auxiliary loss).
        """
        checks.feature_map("PyConvSegNet", self.in_chans, x.shape)
        size = [_zoomed(n, self.zoom_factor) for n in x.shape[2:]]
        middle = self.layer3(self.layer2(self.layer1(self.layer0(x))))
        logits = _resized(self.cls(self.pyconvhead(self.layer4(middle))), size)
        if not self.training or target is None:
            return logits
        goal = _sampled(target, size)
        loss = self.criterion(logits, goal)
        aux_loss = None
        if self.aux is not None:
            aux_loss = self.criterion(_resized(self.aux(middle), size), goal)
        return logits.argmax(1), loss, aux_loss


def _criterion(criterion: Criterion, ignore_index: int) -> Loss:
    """The named loss, or a callable itself."""
    if callable(criterion):
        return criterion
    losses: dict[str, Callable[..., Tensor]] = {"cross_entropy": F.cross_entropy, "focal": _focal}
    if criterion not in losses:
        names = ", ".join(losses)
        raise ValueError(f"PyConvSegNet: criterion must be one of {names}, or a function, got {criterion!r}")
    return functools.partial(losses[criterion], ignore_index=ignore_index)


def _focal(logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Mean of −(1 − p)² log p over the pixels that count, p what softmax gives the true class."""
    surprise = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")
    weighed = (1 - torch.exp(-surprise)) ** 2 * surprise
    return weighed.sum() / (target != ignore_index).sum()


def _stages(backbone: Backbone, layers: int, output_stride: int, norm: Builder) -> list[nn.Sequential]:
    if layers not in BOTTLENECK_DEPTHS:
        raise ValueError(f"PyConvSegNet: layers must be 50, 101 or 152, got {layers!r}")
    late_strides, late_dilations = _REACH[output_stride]
    dilations = (1, 1, *late_dilations)
    before = (STEM_WIDTH, *WIDTHS)
    depths = BOTTLENECK_DEPTHS[layers]
    if backbone == "resnet":
        strides = (1, 2, *late_strides)
        return [
            _resnet_stage(index, before[index], depths[index], strides[index], dilations[index], norm)
            for index in range(4)
        ]
    families = {"pyconvresnet": PYCONV, "pyconvhgresnet": PYCONV_HG}
    if backbone not in families:
        raise ValueError(f"PyConvSegNet: backbone must be resnet, pyconvresnet or pyconvhgresnet, got {backbone!r}")
    strides = (2, 2, *late_strides)
    return [
        bottleneck_stage(
            families[backbone], index, before[index], depths[index], strides[index], dilations[index], norm
        )
        for index in range(4)
    ]


def _resnet_stage(index: int, in_channels: int, depth: int, stride: int, dilation: int, norm: Builder) -> nn.Sequential:
    width = WIDTHS[index]
    planes = width // Bottleneck.expansion
    first = Bottleneck(in_channels, planes, stride, dilation, norm)
    return nn.Sequential(first, *(Bottleneck(width, planes, 1, dilation, norm) for _ in range(depth - 1)))


def _zoomed(size: int, zoom_factor: int) -> int:
    if (size - 1) % 8:
        below = (size - 1) // 8 * 8 + 1
        raise ValueError(
            "PyConvSegNet: height and width less one must be multiples of 8, "
            f"got {size} (nearest: {below}, {below + 8})"
        )
    return (size - 1) // 8 * zoom_factor + 1


def _resized(x: Tensor, size: list[int]) -> Tensor:
    if list(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _sampled(target: Tensor, size: list[int]) -> Tensor:
    """The target's classes at the positions of a smaller map whose corners are aligned with its own."""
    steps = [(full - 1) // max(small - 1, 1) or 1 for full, small in zip(target.shape[1:], size, strict=True)]
    return target[:, :: steps[0], :: steps[1]]


class _Factory(Protocol):
    def __call__(
        self,
        num_classes: int = 150,
        in_chans: int = 3,
        output_stride: int = 8,
        zoom_factor: int = 8,
        aux: bool = True,
        dropout: float = 0.1,
        norm_layer: Norm = "batch",
        criterion: Criterion = "cross_entropy",
    ) -> PyConvSegNet: ...


def _variant(backbone: Backbone, layers: int) -> _Factory:
    def build(
        num_classes: int = 150,
        in_chans: int = 3,
        output_stride: int = 8,
        zoom_factor: int = 8,
        aux: bool = True,
        dropout: float = 0.1,
        norm_layer: Norm = "batch",
        criterion: Criterion = "cross_entropy",
    ) -> PyConvSegNet:
        return PyConvSegNet(
            backbone,
            layers,
            num_classes,
            in_chans,
            output_stride,
            zoom_factor,
            aux,
            dropout,
            norm_layer=norm_layer,
            criterion=criterion,
        )

    build.__name__ = build.__qualname__ = f"pyconvsegnet_{backbone}{layers}"
    build.__doc__ = f"PyConvSegNet on {backbone}-{layers}; height and width less one must be multiples of 8."
    return build


pyconvsegnet_resnet50 = _variant("resnet", 50)
pyconvsegnet_resnet101 = _variant("resnet", 101)
pyconvsegnet_resnet152 = _variant("resnet", 152)
pyconvsegnet_pyconvresnet50 = _variant("pyconvresnet", 50)
pyconvsegnet_pyconvresnet101 = _variant("pyconvresnet", 101)
pyconvsegnet_pyconvresnet152 = _variant("pyconvresnet", 152)
pyconvsegnet_pyconvhgresnet50 = _variant("pyconvhgresnet", 50)
pyconvsegnet_pyconvhgresnet101 = _variant("pyconvhgresnet", 101)
pyconvsegnet_pyconvhgresnet152 = _variant("pyconvhgresnet", 152)
