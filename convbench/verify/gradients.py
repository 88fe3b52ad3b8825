"""Gradients against finite differences along random directions, in float64.

For tensors t and a direction v, (L(t + hv) − L(t − hv)) / 2h is compared with ⟨∂L/∂t, v⟩, where L weighs every output
element at random. A wrong gradient disagrees with probability one; two forward passes a direction suffice, however
many elements move. Every tensor's part of v is scaled until the backward pass says that it changes L as much as any
other's does: none hides behind steeper ones, and a step h changes L by a known share of itself, so that one list of
steps suits flat networks and steep ones. A long step crosses the kinks of ReLUs, in a short one rounding shows: the
step is taken that agrees best with the one before it, and what the measured rounding of a forward pass does is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.verify.agreement import tensors_in
from convbench.verify.calls import first_line, named
from convbench.verify.result import Failed
from convbench.verify.trial import Args, Trial, call, step, weighted_sum

_STEPS = (1e-6, 1e-7, 1e-8, 1e-9)
"""Changes of L, relative to its terms, tried in turn. At 1e-9 rounding takes the digits that a check needs."""
_DIRECTIONS = 2
_RELATIVE = 1e-5
_ROUNDINGS = 4
"""Roundings of one forward pass that the two of a difference may come to."""
_FARTHEST = 1e3
"""How much farther than others a tensor may move, relative to its own size, to change L as much as they do."""
_CLEAR = 1e-4
"""Rounding up to which a slope that agrees is taken at once."""
_UNCLEAR = 1e-2
"""A slope is not known where its own steps differ by more than that."""
_SMALLEST = 12
"""Below this size a half would leave too few pixels for kernels and regions to show."""
_GROUPS = 4
"""More parameters than this move several at once, and fewer at a time only where a group disagrees."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Derivatives of L along one direction: by finite differences, and by the backward pass.

    noise: what rounding can contribute to ``numeric``. doubt: that, and by how much another step's slope differs.
    """

    numeric: float
    analytic: float
    noise: float
    doubt: float

    @property
    def gap(self) -> float:
        return abs(self.numeric - self.analytic)

    @property
    def agrees(self) -> bool:
        """Whether the two differ by no more than truncation and rounding."""
        return self.gap <= _RELATIVE * max(abs(self.numeric), abs(self.analytic)) + self.noise

    @property
    def may_agree(self) -> bool:
        """Whether they do, or differ by no more than the slope by another step does."""
        return self.agrees or (self.is_clear and self.gap <= self.doubt)

    @property
    def is_clear(self) -> bool:
        """Whether the differences tell a slope at all."""
        return self.doubt <= _UNCLEAR * max(abs(self.numeric), abs(self.analytic))

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
            remark = _compare(module, _inputs(trial, module), thorough=trial.thorough)
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


def _compare(module: nn.Module, args: Args, *, thorough: bool) -> str:
    leaves = [arg.clone() for arg in args]
    _, input_grads = step(module, leaves)
    tensors = {f"input {index}" if len(leaves) > 1 else "input": leaf for index, leaf in enumerate(leaves)}
    grads = dict(zip(tensors, input_grads, strict=True))
    inputs = set(tensors)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            tensors[name], grads[name] = parameter.data, parameter.grad
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    land = _Landscape.of(module, leaves, tensors, grads)
    weights = [name for name in tensors if name not in inputs]
    width = 1 if thorough else max(1, -(-len(weights) // _GROUPS))
    groups = [[name] for name in tensors if name in inputs]
    groups += [weights[start : start + width] for start in range(0, len(weights), width)]
    wrong = dict(_disagreeing(land, groups))
    by_decree = [name for name, slope in wrong.items() if slope.flat]
    unclear = [name for name, slope in wrong.items() if not slope.is_clear and not slope.flat]
    excused = {*by_decree, *unclear, *(inputs if by_decree else ())}
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
    if unclear:
        kinks = "kinks or rounding hide the slope of the others"
        return f"{len(tensors) - len(unclear)} of {len(tensors)} tensors agree; {kinks}: {named(unclear)}"
    return f"{len(tensors)} tensors agree"


@dataclass(frozen=True, slots=True)
class _Landscape:
    """L as a function of the tensors that a module and its inputs hold.

    tensors, grads: by name. magnitude: the root of the sum of squares of L's terms. rounding: how far L moves when
    every tensor is changed in its last digit, which is what the operations' own rounding comes to.
    """

    module: nn.Module
    leaves: Sequence[Tensor]
    tensors: Mapping[str, Tensor]
    grads: Mapping[str, Tensor | None]
    magnitude: float
    rounding: float

    @classmethod
    def of(
        cls, module: nn.Module, leaves: Sequence[Tensor], tensors: Mapping[str, Tensor],
        grads: Mapping[str, Tensor | None],
    ) -> _Landscape:  # fmt: skip
        """Measured by three forward passes."""
        at, magnitude = _loss_at(module, leaves, [], [], 0.0)
        every, eps, moved = list(tensors.values()), torch.finfo(torch.float64).eps, list[float]()
        for seed in (11, 12):
            generator = torch.Generator().manual_seed(seed)
            noise = [_noise(tensor, generator) * tensor for tensor in every]
            moved.append(abs(_loss_at(module, leaves, every, noise, eps)[0] - at))
        return cls(module, leaves, tensors, grads, magnitude, max(*moved, 10 * eps * magnitude))

    def slope(self, names: Sequence[str]) -> Slope:
        """The slope along a direction of all ``names`` together: one that agrees, or else the best conditioned."""
        found: list[Slope] = []
        for seed in range(1, _DIRECTIONS + 1):
            along = self._direction(names, seed)
            before: float | None = None
            for size in _STEPS:
                slope = self._along(*along, size, before)
                if slope.agrees and slope.noise <= _CLEAR * abs(slope.analytic):
                    return slope
                before = slope.numeric
                found.append(slope)
        return min((slope for slope in found if slope.doubt < float("inf")), key=lambda slope: slope.doubt)

    def _direction(self, names: Sequence[str], seed: int) -> tuple[list[Tensor], list[Tensor], float]:
        """The tensors that move, how they move, and the slope along that by the backward pass.

        Each changes L by one, as far as the backward pass knows; one in which L is flat does not move far for that.
        """
        generator = torch.Generator().manual_seed(seed)
        moved, directions, analytic = [], [], 0.0
        for name in names:
            tensor, grad = self.tensors[name], self.grads[name]
            v = _noise(tensor, generator)
            part = 0.0 if grad is None else float((grad * v).sum())
            own = (float(tensor.square().mean()) ** 0.5 if tensor.numel() else 0.0) or 1.0
            most = _FARTHEST * own / (self.magnitude or 1.0)
            scale = math.copysign(min(1 / abs(part), most), part) if part else most / _FARTHEST
            moved.append(tensor)
            directions.append(v * scale)
            analytic += part * scale
        return moved, directions, analytic

    def _along(
        self, moved: Sequence[Tensor], directions: Sequence[Tensor], analytic: float, size: float, before: float | None
    ) -> Slope:
        """size: of the change of L, relative to its terms. before: the slope by the step before this."""
        h = size * (self.magnitude or 1.0) / max(abs(analytic), 1.0)
        above, _ = _loss_at(self.module, self.leaves, moved, directions, h)
        below, _ = _loss_at(self.module, self.leaves, moved, directions, -h)
        numeric, noise = (above - below) / (2 * h), _ROUNDINGS * self.rounding / h
        doubt = float("inf") if before is None else abs(numeric - before) + noise
        return Slope(numeric, analytic, noise, doubt)


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)


def _disagreeing(land: _Landscape, groups: Sequence[Sequence[str]]) -> Iterator[tuple[str, Slope]]:
    """The tensors whose slopes disagree: those groups that do are halved until each is alone."""
    for group in groups:
        slope = land.slope(group)
        if slope.may_agree:
            continue
        if len(group) == 1:
            yield group[0], slope
        else:
            half = len(group) // 2
            yield from _disagreeing(land, (group[:half], group[half:]))


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
