"""A detector built as YOLO's is: a flat list of layers that the network reads its own wiring from.

Each layer carries ``f``, where its input comes from (-1 or a list of earlier layers), ``i``, its place, and ``type``;
what later layers need is kept. The head gives maps while training and decoded boxes otherwise, and keeps its anchors
between calls. The same structure as ultralytics' networks, in fifty lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNormAct(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.act(self.bn(x) if hasattr(self, "bn") else x)


class SplitStage(nn.Module):
    """Half of the channels go through a residual block, and every part is kept."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = ConvNormAct(c, c), ConvNormAct(c + c // 2, c)
        self.m = nn.ModuleList([nn.Sequential(ConvNormAct(c // 2, c // 2, 3), ConvNormAct(c // 2, c // 2, 3))])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts.extend(parts[-1] + block(parts[-1]) for block in self.m)
        return self.cv2(torch.cat(parts, 1))


class Join(nn.Module):
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(maps), 1)


class Head(nn.Module):
    """Distances to four sides as distributions over ``bins``, whose mean a fixed conv takes."""

    bins = 4

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.boxes = nn.ModuleList(nn.Sequential(ConvNormAct(c, c, 3), nn.Conv2d(c, 4 * self.bins, 1)) for c in widths)
        self.classes = nn.ModuleList(nn.Sequential(ConvNormAct(c, c, 3), nn.Conv2d(c, num_classes, 1)) for c in widths)
        self.mean = nn.Conv2d(self.bins, 1, 1, bias=False).requires_grad_(False)
        self.mean.weight.data.copy_(torch.arange(self.bins, dtype=torch.float32).view(1, -1, 1, 1))
        self.shape: torch.Size | None = None
        self.anchors = torch.empty(0)

    def forward(self, maps: list[Tensor]) -> list[Tensor] | Tensor:
        given = [torch.cat([b(x), c(x)], 1) for x, b, c in zip(maps, self.boxes, self.classes, strict=True)]
        if self.training:
            return given
        if self.shape != maps[0].shape:
            self.shape = maps[0].shape
            places = [torch.stack(torch.meshgrid(*map(torch.arange, x.shape[2:]), indexing="ij")) for x in maps]
            self.anchors = torch.cat([place.flatten(1) for place in places], 1).to(maps[0])
        flat = torch.cat([x.flatten(2) for x in given], 2)
        boxes, classes = flat.split((4 * self.bins, flat.shape[1] - 4 * self.bins), 1)
        sides = self.mean(boxes.unflatten(1, (4, self.bins)).transpose(1, 2).softmax(1)).squeeze(1)
        return torch.cat([self.anchors - sides[:, :2], self.anchors + sides[:, 2:], classes.sigmoid()], 1)


class Detector(nn.Module):
    def __init__(self, num_classes: int = 3, width: int = 16) -> None:
        super().__init__()
        layers: list[tuple[int | list[int], nn.Module]] = [
            (-1, ConvNormAct(3, width, 3, 2)),
            (-1, ConvNormAct(width, 2 * width, 3, 2)),
            (-1, SplitStage(2 * width)),
            (-1, ConvNormAct(2 * width, 2 * width, 3, 2)),
            (-1, nn.Upsample(scale_factor=2)),
            ([-1, 2], Join()),
            (-1, ConvNormAct(4 * width, 2 * width, 3)),
            ([6, 3], Head([2 * width, 2 * width], num_classes)),
        ]
        for i, (f, layer) in enumerate(layers):
            layer.i, layer.f, layer.type = i, f, type(layer).__name__
        self.model = nn.Sequential(*(layer for _, layer in layers))
        self.kept = {2, 3, 6}

    def fuse(self) -> Detector:
        """Fold every norm into the conv before it."""
        for layer in self.modules():
            if isinstance(layer, ConvNormAct) and hasattr(layer, "bn"):
                scale = layer.bn.weight / torch.sqrt(layer.bn.running_var + layer.bn.eps)
                bias = layer.bn.bias - layer.bn.running_mean * scale
                layer.conv.weight = nn.Parameter(layer.conv.weight * scale.view(-1, 1, 1, 1))
                layer.conv.bias = nn.Parameter(bias)
                del layer.bn
        return self

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        earlier: list[Tensor | None] = []
        for layer in self.model:
            if layer.f != -1:
                x = [x if j == -1 else earlier[j] for j in layer.f]
            x = layer(x)
            earlier.append(x if layer.i in self.kept else None)
        return x


class Flat(nn.Module):
    """The wiring is on the convs themselves: what takes their place has to carry it."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.model = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(4)))
        for i, conv in enumerate(self.model):
            conv.i, conv.f, conv.type = i, -1 if i < 3 else 0, "conv"
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        earlier: list[Tensor] = []
        for layer in self.model:
            x = layer(x if layer.f == -1 else earlier[layer.f])
            assert layer.type == "conv"
            assert layer.out_channels == x.shape[1]
            earlier.append(x)
        return self.head(x.mean((2, 3)))
