"""Small modules that each use one construct that evaluation on boxes must get right, or refuse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

C = 4
"""Channels of every module here."""


class Function(nn.Module):
    """A forward function with a random convolution before and after it, so that every pixel has its own weight."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = C) -> None:
        super().__init__()
        self.before = nn.Conv2d(C, C, 3, padding=1)
        self.function = function
        self.after = nn.Conv2d(channels, C, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel, through a permutation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(C)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PixelMlp(nn.Module):
    """Linear layers on channels-last pixels, as ConvNeXt writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(C, 3 * C), nn.Linear(3 * C, C)
        self.gamma = nn.Parameter(torch.rand(C))

    def forward(self, x: Tensor) -> Tensor:
        y = self.gamma * self.down(F.gelu(self.up(x.permute(0, 2, 3, 1))))
        return x + y.permute(0, 3, 1, 2)


class TokenMlp(nn.Module):
    """A linear layer on flattened pixels (N, H·W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return self.linear(x.flatten(2).transpose(1, 2)).tanh().transpose(1, 2).reshape(n, c, h, w)


class Kernel(nn.Module):
    """A convolution whose kernel is computed from weights in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(C, C, 3, 3))
        self.refocus = nn.Conv2d(C * C, C * C, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.basis + self.refocus(self.basis.reshape(1, C * C, 3, 3)).reshape(C, C, 3, 3)
        return F.conv2d(x, weight, padding=1)


class Positions(nn.Module):
    """Adds a learned map to the input: a constant that must be cut to the box."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, C, *size))

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.map)


class Coordinates(nn.Module):
    """Concatenates a grid made on the input's device."""

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype).view(1, 1, h, 1).expand(1, 1, h, w)
        columns = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype).view(1, 1, 1, w).expand(1, 1, h, w)
        grid = torch.cat([rows, columns], 1)
        return torch.cat([x[:, :2] * rows, x[:, 2:] + grid], 1)


class DoubleGradient(torch.autograd.Function):
    """Identity with a gradient of its own."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 2 * gradient


def partly_without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(x)
    return x * gate + 0.5 * F.relu(x).detach()


def in_place(x: Tensor) -> Tensor:
    y = x * 2
    y += x
    return y.relu_()


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def mixed_einsum(x: Tensor) -> Tensor:
    return torch.einsum("nchw,dc->ndhw", x, torch.arange(16.0, dtype=x.dtype).view(4, 4).sin())


def hand_norm(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    deviation = (x - mean).pow(2).mean(1, keepdim=True)
    return (x - mean) / torch.sqrt(deviation + 1e-6)


def own(function: Callable[[Tensor], Tensor], channels: int = C) -> Callable[[], nn.Module]:
    return lambda: Function(function, channels)


def layers(*modules: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Conv2d(C, C, 3, padding=1), *(build() for build in modules), nn.Conv2d(C, C, 3, padding=1)
    )


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3)


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return (torch.softmax(tokens @ tokens.transpose(1, 2), 2) @ tokens).transpose(1, 2).reshape(x.shape)


def windowed(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    windows = x.view(n, c, h // 2, 2, w // 2, 2)
    return (windows - windows.mean((3, 5), keepdim=True)).reshape(x.shape)


def sampled(x: Tensor) -> Tensor:
    return F.grid_sample(x, x[:, :2].tanh().permute(0, 2, 3, 1), align_corners=False)


def with_positions(x: Tensor) -> Tensor:
    largest, positions = F.max_pool2d(x, 2, return_indices=True)
    return largest + 1e-3 * positions.to(x.dtype)


def through_view(x: Tensor) -> Tensor:
    x[:, :2].mul_(3)
    return x


def into_zeros(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    out[:, :2] = x[:, 2:]
    return out


class WritesItsKernels(nn.Module):
    """Kernels written out in the forward pass, in the three ways in which torch makes tensors of numbers."""

    def forward(self, x: Tensor) -> Tensor:
        row = [0.25, -0.5, 1.0]
        made = [
            torch.tensor([row], dtype=x.dtype, device=x.device),
            torch.as_tensor([row], dtype=x.dtype, device=x.device),
            x.new_tensor([row]),
        ]
        for kernel in made:
            x = F.conv2d(x, kernel.expand(C, 1, 1, 3), padding=(0, 1), groups=C)
        return x


LOCAL: dict[str, Callable[[], nn.Module]] = {
    "kernels written out": WritesItsKernels,
    "dense": lambda: nn.Conv2d(C, C, 5, padding=2),
    "no padding": lambda: nn.Sequential(nn.Conv2d(C, C, 5), nn.Conv2d(C, C, 3)),
    "even kernel": lambda: nn.Sequential(nn.Conv2d(C, C, 4, padding=2), nn.Conv2d(C, C, 2)),
    "same padding of an even kernel": lambda: nn.Conv2d(C, C, 4, padding="same"),
    "unlike sides": lambda: nn.Conv2d(C, C, (3, 7), padding=(1, 2), stride=(1, 2), dilation=(2, 1)),
    "grouped, dilated": lambda: nn.Conv2d(C, C, 3, padding=4, dilation=4, groups=2),
    "strided": lambda: nn.Sequential(*(nn.Conv2d(C, C, 3, stride=2, padding=1) for _ in range(3))),
    "patches": lambda: nn.Sequential(nn.Conv2d(C, C, 4, stride=4), nn.Conv2d(C, C, 2, stride=2)),
    "transposed": layers(lambda: nn.ConvTranspose2d(C, C, 3, stride=2, padding=1, output_padding=1)),
    "transposed, gaps": layers(lambda: nn.ConvTranspose2d(C, C, 2, stride=3, output_padding=1)),
    "transposed, grouped, dilated": layers(lambda: nn.ConvTranspose2d(C, C, 3, padding=1, groups=2, dilation=2)),
    "max pool": layers(lambda: nn.MaxPool2d(3, 2, 1)),
    "max pool, ceil": layers(lambda: nn.MaxPool2d(2, 2, ceil_mode=True)),
    "max pool, dilated": layers(lambda: nn.MaxPool2d(3, 1, 1, dilation=2)),
    "average pool": layers(lambda: nn.AvgPool2d(3, 2, 1)),
    "average pool, real pixels only": layers(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True)),
    "adaptive pool": layers(lambda: nn.AdaptiveAvgPool2d((7, 5))),
    "nearest": layers(lambda: nn.Upsample(scale_factor=2)),
    "nearest exact": layers(lambda: nn.Upsample(size=(11, 17), mode="nearest-exact")),
    "bilinear": layers(lambda: nn.Upsample(scale_factor=1.5, mode="bilinear")),
    "bilinear, corners": layers(lambda: nn.Upsample(size=(31, 33), mode="bilinear", align_corners=True)),
    "bicubic": layers(lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    "shrunk bilinear": layers(lambda: nn.Upsample(size=(9, 10), mode="bilinear")),
    "reflected": lambda: nn.Sequential(nn.Conv2d(C, C, 5, padding=2, padding_mode="reflect"), nn.Conv2d(C, C, 3)),
    "replicated": lambda: nn.Conv2d(C, C, 5, padding=2, padding_mode="replicate"),
    "padded by hand": own(lambda x: F.pad(x, (2, 1, 0, 3), value=0.5)),
    "cropped by hand": own(lambda x: F.pad(x, (-2, 1, -1, 0))),
    "channels padded": own(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), 7),
    "every other pixel": own(lambda x: x[:, :, 1::2, ::3]),
    "shifted": own(lambda x: x[:, :, 2:, :-1] - x[:, :, :-2, 1:]),
    "batch norm": layers(lambda: nn.BatchNorm2d(C), lambda: nn.ReLU(inplace=True)),
    "channel norm": layers(ChannelNorm),
    "channel norm by hand": own(hand_norm),
    "pixel mlp": layers(PixelMlp),
    "token mlp": layers(TokenMlp),
    "computed kernel": layers(Kernel),
    "learned positions": layers(lambda: Positions((24, 26))),
    "coordinates": layers(Coordinates),
    "activations": layers(
        nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, lambda: nn.LeakyReLU(0.1), nn.ELU, nn.Softplus, nn.Mish, nn.ReLU6
    ),
    "prelu": layers(lambda: nn.PReLU(C)),
    "in place": own(in_place),
    "no gradient through a gate": own(partly_without_gradient),
    "channel shuffle": own(shuffled),
    "split and concatenated": own(
        lambda x: torch.cat([x[:, 3:] * x[:, :1], *x.split(2, 1), *x.chunk(4, 1)[1:3]], 1), 7
    ),
    "unbound": own(lambda x: torch.stack([part * 2 for part in x.unbind(1)[::-1]], 1)),
    "selected": own(lambda x: x + x[:, 2].unsqueeze(1)),
    "softmax over channels": own(lambda x: x.softmax(1) * x.amax(1, keepdim=True)),
    "glu": own(lambda x: F.glu(x, 1), 2),
    "einsum": own(mixed_einsum),
    "transposed twice": own(lambda x: F.avg_pool2d(x.transpose(2, 3), (3, 1)).transpose(2, 3)),
    "where": own(lambda x: torch.where(x > 0, x, 0.1 * x.sin())),
    "zeros": own(lambda x: torch.maximum(x, torch.zeros_like(x)) + x.new_ones(1)),
    "dropout": layers(lambda: nn.Dropout2d(0.5)),
    "permuted channels": own(lambda x: x.index_select(1, torch.tensor([2, 0, 3, 1]))),
    "a residual sum": own(lambda x: x + F.avg_pool2d(x, 3, 1, 1)),
    "rolled": own(lambda x: x.roll((3, -2), (2, 3))),
    "flipped": own(lambda x: x.flip(3)),
    "rows by index": own(lambda x: x.index_select(2, torch.arange(1, 24, 2))),
    "circular": lambda: nn.Sequential(
        nn.Conv2d(C, C, 3, padding=1, padding_mode="circular"), nn.Conv2d(C, C, 5, padding=2, padding_mode="circular")
    ),
    "unused branch": own(lambda x: (x, x.mean())[0]),
}

GLOBAL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "squeeze and excitation": (own(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()), "mean works across"),
    "global pool": (own(lambda x: x - F.adaptive_avg_pool2d(x, 1)), "mean works across"),
    "group norm": (layers(lambda: nn.GroupNorm(2, C)), "group_norm"),
    "instance norm": (layers(lambda: nn.InstanceNorm2d(C)), "statistics of the batch"),
    "layer norm over the image": (layers(lambda: nn.LayerNorm([C, 24, 26])), "layer_norm works across"),
    "self attention": (own(attention), "every position meets every other one"),
    "transposed": (lambda: Transposed(), "not laid out as (N, C, H, W)"),
    "windows": (own(windowed), "a view splits or mixes rows or columns"),
    "spatial linear": (layers(lambda: nn.Linear(26, 26)), "addmm sums over positions"),
    "dynamic kernel": (own(lambda x: F.conv2d(x, x.mean((0, 2, 3)).view(C, 1, 1, 1), groups=C)), "mean works across"),
    "sampled": (own(sampled), "grid_sampler"),
    "own gradient": (own(DoubleGradient.apply), "DoubleGradient defines a gradient of its own"),
    "sorted channels by content": (own(lambda x: x.index_select(1, x[0, :, 0, 0].argsort())), ""),
    "pooled with positions": (own(with_positions), "gives beside"),
    "changed through a view": (own(lambda x: through_view(x * 1)), "changed in place through another view"),
    "written into zeros": (own(into_zeros), ""),
    "decided by content": (own(lambda x: x if float(x.detach().sum()) > 1e9 else 2 * x), "content"),
}  # fmt: skip
