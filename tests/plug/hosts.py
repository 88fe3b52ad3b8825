"""Hosts with one layer of every sort, and blocks that a user might write."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectingHost(nn.Conv2d):
    """A conv with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Mixed(nn.Module):
    """Convs that can be replaced, and one of each kind that cannot."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, width, 3, stride=2, padding=1, bias=False)
        self.stage = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 5, padding=2, groups=2 * width)
        self.pointwise = nn.Conv2d(2 * width, 2 * width, 1)
        self.wide = nn.Conv2d(2 * width, 2 * width, (1, 3), padding=(0, 1))
        self.shrinking = nn.Conv2d(2 * width, 2 * width, 3)
        self.dilated = nn.Conv2d(2 * width, 2 * width, 3, padding=2, dilation=2)
        self.reflecting = nn.Conv2d(2 * width, 2 * width, 3, padding=1, padding_mode="reflect")
        self.special = ReflectingHost(2 * width, 2 * width, 3, padding=1)
        self.twice = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.again = self.twice
        self.functional = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.unused = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.stage(self.stem(x)))
        x = self.wide(self.pointwise(self.depthwise(x)))
        x = self.special(self.reflecting(self.dilated(self.shrinking(x))))
        x = self.again(F.max_pool2d(self.twice(x), 2))
        x = F.conv2d(x, self.functional.weight, self.functional.bias, padding=1)
        return self.head(x.mean(dim=(2, 3)))


class ReadsWeights(nn.Module):
    """Looks at a conv's weight, which a block need not have."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.last(self.body(x.to(self.body.weight.dtype))).mean(dim=(2, 3))


class Staged(nn.Module):
    """Stages of several kinds."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(in_chans, 8, 3, padding=1), nn.ReLU())
        self.layer2 = Residual(8)
        self.layers = nn.ModuleList([Residual(8), Residual(8)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.idle = Residual(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(x))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.pool(x).flatten(1))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class AnyConv(nn.Module):
    """A user's conv with torch's own parameters."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gain


class Shift(nn.Module):
    """A user's block that keeps the shape."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class Halving(nn.Module):
    """Claims no stride, and halves the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2, ::2]


class NoWidth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x
