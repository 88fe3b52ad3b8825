"""Gradients against finite differences, one random direction a tensor, in float64.

For a tensor t and a random direction v, (L(t + εv) − L(t − εv)) / 2ε is compared with ⟨∂L/∂t, v⟩, where L weighs every
output element at random. A wrong gradient disagrees with probability one; two forward passes a tensor suffice, however
large it is. Several steps and directions are tried, and one that agrees is enough: a step may cross a ReLU's kink.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.verify.agreement import tensors_in
from convbench.verify.calls import first_line, named
from convbench.verify.result import Failed
from convbench.verify.trial import Args, Trial, call, step, weighted_sum

_ATTEMPTS = ((1e-6, 1), (1e-5, 2), (1e-7, 3), (1e-8, 4), (1e-8, 5))
"""Step ε and seed of the direction. Of a million activations some cross a kink at 1e-6; few do at 1e-8, none twice."""
_RELATIVE = 1e-5
_SMALLEST = 12
"""Below this size a half would leave too few pixels for kernels and regions to show."""
_GROUPS = 16
"""More tensors than this are compared several at once, and one by one only where they disagree."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Derivatives of L along one direction: by finite differences, and by the backward pass.

    noise: what rounding can contribute to ``numeric``.
    """

    numeric: float
    analytic: float
    noise: float

    @property
    def agrees(self) -> bool:
        """Whether the two differ by no more than truncation and rounding."""
        gap = abs(self.numeric - self.analytic)
        return gap <= _RELATIVE * max(abs(self.numeric), abs(self.analytic)) + self.noise

    @property
    def flat(self) -> bool:
        """Whether L does not change at all along the direction."""
        return abs(self.numeric) <= self.noise


def gradients(trial: Trial) -> str:
    """Every parameter's and input's gradient, in eval and in training mode.

    A parameter in which the output is piecewise constant (a hard choice) has a gradient by decree, which finite
    differences cannot confirm; nor can they then the input's. Both are named in the remark.
    """
    remarks = []
    for training in (False, True):
        mode = "training" if training else "eval"
        module = trial.awake(dtype=torch.float64).train(training)
        try:
            remark = _compare(module, _inputs(trial, module))
        except Failed as error:
            raise Failed(f"{mode} mode: {error}") from error
        except (TypeError, ValueError, AssertionError) as error:
            if not training:
                raise
            remark = f"not in training mode, which wants more than the input ({first_line(error)})"
        remarks.append(remark)
    return remarks[0] if remarks[0] == remarks[1] else "; ".join(remarks)


def _inputs(trial: Trial, module: nn.Module) -> Args:
    """A block's inputs at half the height and width where it takes them: float64 convolutions are slow."""
    height, width = trial.shapes[0][2:] if len(trial.shapes[0]) == 4 else (0, 0)
    if trial.design.kind == "block" and min(height, width) >= _SMALLEST:
        halved = trial.draw(seed=0, size=(height // 2, width // 2), dtype=torch.float64)
        with suppress(Exception):  # a fixed size, a window that does not divide
            trial.infer(module, halved)
            return halved
    return trial.draw(seed=0, dtype=torch.float64)


def _compare(module: nn.Module, args: Args) -> str:
    leaves = [arg.clone() for arg in args]
    _, input_grads = step(module, leaves)
    tensors = {f"input {index}" if len(leaves) > 1 else "input": leaf for index, leaf in enumerate(leaves)}
    grads = dict(zip(tensors, input_grads, strict=True))
    inputs = set(tensors)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            tensors[name], grads[name] = parameter.data, parameter.grad
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    wrong = _disagreeing(module, leaves, tensors, grads)
    by_decree = [name for name, slope in wrong.items() if slope.flat]
    excused = {*by_decree, *(inputs if by_decree else ())}
    plainly = {name: slope for name, slope in wrong.items() if name not in excused}
    if plainly:
        name, slope = next(iter(plainly.items()))
        raise Failed(
            f"{named(list(plainly))} of {len(tensors)} tensors disagree with finite differences: "
            f"{name} has slope {slope.analytic:.6g}, by differences {slope.numeric:.6g}"
        )
    if by_decree:
        return (
            f"{len(tensors) - len(wrong)} of {len(tensors)} tensors agree; the output is piecewise constant in "
            f"{', '.join(by_decree)}, whose gradient is a surrogate"
            + (", and so in part the input's" if inputs & set(wrong) else "")
        )
    return f"{len(tensors)} tensors agree"


def _disagreeing(
    module: nn.Module, leaves: Sequence[Tensor], tensors: dict[str, Tensor], grads: dict[str, Tensor | None]
) -> dict[str, Slope]:
    """The tensors whose slopes disagree, found in groups where there are many."""
    names = list(tensors)
    width = -(-len(names) // _GROUPS)
    groups = [names[start : start + width] for start in range(0, len(names), width)]
    wrong: dict[str, Slope] = {}
    for group in groups:
        slope = _slope(module, leaves, [(tensors[name], grads[name]) for name in group])
        if slope.agrees:
            continue
        for name in group:
            single = slope if len(group) == 1 else _slope(module, leaves, [(tensors[name], grads[name])])
            if not single.agrees:
                wrong[name] = single
    return wrong


def _slope(module: nn.Module, leaves: Sequence[Tensor], moved: Sequence[tuple[Tensor, Tensor | None]]) -> Slope:
    """The slope along random directions of all ``moved`` tensors together: one that agrees, or else the nearest."""
    slopes: list[Slope] = []
    for epsilon, seed in _ATTEMPTS:
        slopes.append(_slope_along(module, leaves, moved, epsilon, seed))
        if slopes[-1].agrees:
            return slopes[-1]
    return min(slopes, key=lambda slope: abs(slope.numeric - slope.analytic))


def _slope_along(
    module: nn.Module,
    leaves: Sequence[Tensor],
    moved: Sequence[tuple[Tensor, Tensor | None]],
    epsilon: float,
    seed: int,
) -> Slope:
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device) for t, _ in moved]
    analytic = sum(float((grad * v).sum()) for (_, grad), v in zip(moved, directions, strict=True) if grad is not None)
    tensors = [tensor for tensor, _ in moved]
    above, magnitude = _loss_at(module, leaves, tensors, directions, epsilon)
    below, _ = _loss_at(module, leaves, tensors, directions, -epsilon)
    # Rounding of the terms of L, as a random walk: far below what any wrong gradient shows.
    noise = 100 * torch.finfo(torch.float64).eps * magnitude / epsilon
    return Slope((above - below) / (2 * epsilon), analytic, noise)


def _loss_at(
    module: nn.Module,
    leaves: Sequence[Tensor],
    moved: Sequence[Tensor],
    directions: Sequence[Tensor],
    distance: float,
) -> tuple[float, float]:
    """L with ``moved`` shifted along ``directions``, and the root of its terms' sum of squares; restores them."""
    kept = [tensor.clone() for tensor in moved]
    try:
        for tensor, direction in zip(moved, directions, strict=True):
            tensor.add_(direction, alpha=distance)
        with torch.no_grad():
            outputs = [t for t in tensors_in(call(module, leaves)) if t.is_floating_point()]
        magnitude = sum(float(t.double().square().mean()) for t in outputs if t.numel()) ** 0.5
        return float(weighted_sum(outputs)), magnitude
    finally:
        for tensor, original in zip(moved, kept, strict=True):
            tensor.copy_(original)
