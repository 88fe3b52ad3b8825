"""Modules that are right but for one thing each, and one that is right in everything."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Right(nn.Module):
    """A conv between pointwise functions: nothing to find fault with."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv(x))


class InfiniteOutput(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).neg().abs().neg().log()


class FailingForward(Right):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("the kernel is missing")


class CutGraph(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class NoInputGradient(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


class NothingLearns(Right):
    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.register_buffer("gate", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * super().forward(x)


class InfiniteGradient(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return (y * 0).sqrt() + y


class IdleParameter(Right):
    """Passes, with a remark."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.idle = nn.Parameter(torch.ones(3))


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


class WrongGradient(Right):
    """The bias's gradient is twice what it should be; the input's and the weight's are right."""

    def forward(self, x: Tensor) -> Tensor:
        bias = _Doubled.apply(self.conv.bias)
        return F.gelu(F.conv2d(x, self.conv.weight, bias, padding=1))


class WrongTrainingGradient(WrongGradient):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else Right.forward(self, x)


class ManyTensors(nn.Module):
    """120 parameters; the gradient of number 77 is doubled."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(dim, 1, 1)) for _ in range(120))

    def forward(self, x: Tensor) -> Tensor:
        for index, scale in enumerate(self.scales):
            x = x + 0.01 * (_Doubled.apply(scale) if index == 77 else scale) * torch.tanh(x)
        return x


class HardChoice(Right):
    """A straight-through choice: its gradient is a surrogate by design."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.guide = nn.Conv2d(dim, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        soft = self.guide(x).softmax(1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        gate = hard + soft - soft.detach()
        return super().forward(x) * gate[:, :1]


class SinglePrecision(Right):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.float(), self.conv.weight, self.conv.bias, padding=1)


class MixesBatch(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


class Pooled(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum()


class Random(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.calls()

    def calls(self) -> float:
        self.count = getattr(self, "count", 0) + 1
        return float(self.count)


class RandomBuild(Right):
    """Initialised from a source that no seed governs."""

    builds = 0

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        type(self).builds += 1
        self.register_buffer("shift", torch.tensor(float(self.builds)))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift


class TwoFaced(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.5 if self.training else 1.0)


class ModeDependent(Right):
    """Differs between the modes as it should: by batch norm and dropout."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.norm, self.drop = nn.BatchNorm2d(dim), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(super().forward(x)))


class TwoOutputs(Right):
    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return (y, y.mean(dim=(2, 3))) if self.training else y


class WantsTargets(Right):
    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        if self.training and target is None:
            raise ValueError("training needs a target")
        return super().forward(x)


class WritesInput(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


class EvenOnly(Right):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return super().forward(x.view(n, c, h // 2, 2, w // 2, 2).flatten(2, 3).flatten(3).view_as(x))


class RefusesOdd(Right):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            raise ValueError("the width must be even")
        return super().forward(x)


class ShrinksOdd(Right):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(F.avg_pool2d(super().forward(x), 2), scale_factor=2.0)


class NeedsSamples(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(x.shape[0], x.shape[1], -1).view_as(x)


class KeepsOneSample(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if len(y) else y.new_zeros(1, *y.shape[1:])


class RealOnMeta(Right):
    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.table = torch.ones(dim, 1, 1, device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.table


class ReadsData(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(x.abs().max() > 0)


class MemoryOrder(Right):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return super().forward(x.as_strided((n, c, h, w), (c * h * w, h * w, w, 1)))


class FixedDtype(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.zeros_like(x).index_copy_(0, torch.arange(len(x)), self.conv(x)) + y


class LosesPrecision(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) + 1000
        return y - 1000


class HiddenState(Right):
    """Holds what its outputs depend on where no state dict looks."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.scale = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + self.scale)


class SharedCopy(Right):
    def __deepcopy__(self, memo: Any) -> SharedCopy:
        return self


class Lambda(Right):
    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.act = lambda x: x

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class Branches(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if x[0, 0, 0, 0] > 0 else y * 2


class FixedSize(Right):
    """Reads the size as a number while it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.zeros(int(x.shape[2]), int(x.shape[3]))


class FixedBatch(Right):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (1.0 if len(x) == 2 else 2.0)


class WrongWhenCompiled(Right):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * 2 if torch.compiler.is_compiling() else y


class TwoImages(nn.Module):
    """Two inputs, a mapping of outputs."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"sum": self.conv(x) + y, "mean": y.mean(dim=(2, 3))}


class SmallImagesRefused(nn.Module):
    """A network for one size, as windowed transformers are."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 224, f"the size must be 224, got {x.shape[-1]}"
        return self.head(x.mean(dim=(2, 3)))


class HardChoiceWithWrongBias(HardChoice):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + _Doubled.apply(self.conv.bias)[:, None, None]


class ScaledAway(Right):
    """Differs between the modes behind a layer scale that starts at nothing."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__(dim)
        self.layer_scale = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * super().forward(x) * (1 + self.training)


class Steep(nn.Module):
    """Right, and deep: thousands of ReLUs' kinks lie within any step that rounding allows, and slopes are steep."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        stages = [(nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim), nn.ReLU()) for _ in range(16)]
        self.layers = nn.Sequential(*(layer for stage in stages for layer in stage))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
