"""What the checks work on: fresh modules of one target, inputs of any batch and size, and the outputs to compare with.

Modules are woken before they are compared: zeros and layer scales of 1e-6, at which many blocks start, would hide what
is behind them, and batch norm without statistics lets a deep network's activations grow without bound. So every
parameter is moved off its initial value, and batch norm takes its statistics from one pass. A checkpoint is left as
it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from convbench.case import DTYPES
from convbench.errors import ShapeError
from convbench.execution.guard import seeded
from convbench.execution.step import Step
from convbench.inputs import Drawn, Plain, format_inputs
from convbench.target import arguments
from convbench.target.blueprint import Blueprint
from convbench.verify.agreement import root_mean_square_difference, tensors_in
from convbench.verify.result import Failed

Args = tuple[Tensor, ...]

BATCH = 2
_TOLERANCE = 1e-4
_MAGNIFIED = 10.0
"""Roundings inside a deep network against one at its input."""
_WEIGHT_NOISE = 0.3
_VECTOR_NOISE = 0.2


class Trial:
    """One target under verification.

    design: its blueprint, in inference mode and float32. thorough: whether every tensor's gradient is compared
    by itself. The attributes are computed when a check first asks.
    """

    def __init__(self, design: Blueprint, *, thorough: bool = False) -> None:
        self.thorough = thorough
        self.case = design.case
        self.design, drawn = _flat(design)
        self.device = design.case.device
        batch = next((one.shape[0] for one in drawn if one.shape), 1)
        self.drawn = tuple(_of_batch(one, batch, max(batch, BATCH)) for one in drawn)
        args, kwargs = tree_map(
            lambda one: _of_batch(one, batch, max(batch, BATCH)) if isinstance(one, Drawn) else one,
            arguments.described(design.arguments),
        )
        self.inputs = format_inputs(args, kwargs)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the inputs."""
        return tuple(one.shape for one in self.drawn)

    @cached_property
    def module(self) -> nn.Module:
        """The woken module in eval mode, for checks that change nothing in it."""
        return self.awake()

    @cached_property
    def args(self) -> Args:
        """Inputs of at least two samples."""
        return self.draw(seed=0)

    @cached_property
    def output(self) -> Any:
        """What `module` gives for `args`, without gradients."""
        return self.infer(self.module, self.args)

    def sensitivity(self, dtype: torch.dtype) -> float:
        """How far the output moves, relative to its root mean square, when input and weights are rounded to ``dtype``.

        Deep networks with random weights magnify every rounding, and hard choices turn on it: what rounding alone
        does, no check may hold against a target. For float32 itself every input element is changed in its last digit.
        """
        if dtype == torch.float32:
            noise = torch.Generator().manual_seed(6)
            ulp = torch.finfo(dtype).eps
            factors = [1 + ulp * torch.randn(arg.shape, generator=noise).to(arg.device) for arg in self.args]
            pairs = zip(self.args, factors, strict=True)
            moved = [arg * factor if arg.is_floating_point() else arg for arg, factor in pairs]
            return root_mean_square_difference(self.infer(self.module, moved), self.output)
        module = self.awake()
        args = [arg.to(dtype).to(arg.dtype) if arg.is_floating_point() else arg for arg in self.args]
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter.to(dtype))
        return root_mean_square_difference(self.infer(module, args), self.output)

    @cached_property
    def tolerance(self) -> float:
        """Relative difference that rounding in float32 explains, however the operations are ordered: at least 1e-4."""
        return max(_TOLERANCE, _MAGNIFIED * self.sensitivity(torch.float32))

    def fresh(self, seed: int | None = None, device: str | None = None) -> nn.Module:
        """The target as it is initialised, in eval mode."""
        return self.design.module(seed, device)

    def awake(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A fresh module, woken unless its weights come from a checkpoint; equal seeds give equal modules."""
        module = self.fresh(seed)
        case = self.design.case
        if case.weights is None and not case.pretrained:
            wake(module, seed)
            with suppress(Exception):  # a training call may want more than the input: then statistics stay as they are
                settle(module, self.draw(seed=1))
        return module.to(dtype).eval()

    def draw(
        self,
        seed: int,
        batch: int | None = None,
        size: tuple[int, int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Args:
        """Inputs from N(0, 1); ``batch`` and ``size`` (height, width) unless they are to be the trial's own."""
        generator = torch.Generator().manual_seed(seed)
        own = next((shape[0] for shape in self.shapes if shape), 1)
        drawn = []
        for one in self.drawn:
            if size is not None and len(one.shape) == 4:
                one = replace(one, shape=(*one.shape[:-2], *size))
            if batch is not None:
                one = _of_batch(one, own, batch)
            if one.low is not None or one.dtype in ("bool", "complex64", "complex128"):
                one = replace(one, dtype=None) if one.dtype in DTYPES else one
                drawn.append(arguments.draw(one, generator, self.device, dtype))
            else:
                drawn.append(torch.randn(one.shape, generator=generator, dtype=torch.float64).to(self.device, dtype))
        return tuple(drawn)

    def beside(self, one: Args, other: Args) -> Args:
        """Two samples in one batch, the second a thousand times larger; what has no batch is that of ``one``."""
        batched = [shape[:1] == self.shapes[0][:1] != () for shape in self.shapes]
        pairs = zip(one, other, batched, strict=True)
        return tuple(torch.cat((a, 1000 * b if b.is_floating_point() else b)) if has else a for a, b, has in pairs)

    def infer(self, module: nn.Module, args: Sequence[Tensor]) -> Any:
        """One call without gradients on copies of ``args``; random choices depend on nothing but this call."""
        with torch.no_grad():
            return call(module, args)


class Flat(nn.Module):
    """A module that takes the tensors among its arguments one after the other, wherever they are in these."""

    def __init__(self, module: nn.Module, plain: Sequence[Any], structure: TreeSpec) -> None:
        super().__init__()
        self.module, self.plain, self.structure = module, plain, structure

    def forward(self, *tensors: Tensor) -> Any:
        """What the module gives. ``plain``: the other arguments, None where a tensor stands."""
        following = iter(tensors)
        leaves = [next(following) if leaf is None else leaf.value for leaf in self.plain]
        args, kwargs = tree_unflatten(leaves, self.structure)
        return self.module(*args, **kwargs)


def _flat(design: Blueprint) -> tuple[Blueprint, list[Drawn]]:
    """The design with its tensors as the positional arguments of the call, and how these are drawn."""
    args, kwargs = arguments.described(design.arguments)
    leaves, structure = tree_flatten((args, kwargs))
    drawn = [leaf for leaf in leaves if isinstance(leaf, Drawn)]
    if not drawn:
        raise ShapeError(f"{design.name}: none of its arguments is a tensor")
    if kwargs or len(drawn) < len(args) or any(not isinstance(leaf, Drawn) for leaf in args):
        plain = [leaf if isinstance(leaf, Plain) else None for leaf in leaves]
        flat = replace(
            design,
            case=replace(design.case, shapes=()),
            construct=lambda: Flat(design.construct(), plain, structure),
            usual=lambda _: (tuple(drawn), {}),
        )
        return flat, drawn
    return design, drawn


def _of_batch(one: Drawn, before: int, batch: int) -> Drawn:
    """What was drawn for ``before`` samples, for as many as ``batch``; what has another first extent stays."""
    return replace(one, shape=(batch, *one.shape[1:])) if one.shape[:1] == (before,) else one


def call(module: nn.Module, args: Sequence[Tensor], seed: int = 0) -> Any:
    """One call on copies of ``args``, which a module may change in place; the global random state is left alone."""
    with seeded(seed):
        return module(*(arg.clone() for arg in args))


def step(module: nn.Module, args: Sequence[Tensor], seed: int = 0) -> tuple[Any, list[Tensor | None]]:
    """Output of one call and the gradients of its inputs; those of the parameters are left in ``.grad``.

    The loss is a fixed random weighting of every floating output. Raises Failed where no output carries a gradient.
    """
    leaves = [arg.clone().requires_grad_(arg.is_floating_point()) for arg in args]
    outputs: list[Any] = []

    def weighted(output: Any) -> Tensor:
        outputs.append(output)
        loss = weighted_sum([tensor for tensor in tensors_in(output) if tensor.is_floating_point()])
        if not loss.requires_grad:
            raise Failed("no output carries a gradient")
        return loss

    with seeded(seed), torch.enable_grad():
        inputs = tuple(leaf.clone() for leaf in leaves)  # not the leaves: in-place changes of leaves are refused
        Step(module, inputs, mode="training").run(loss_of=weighted)
    return outputs[0], [leaf.grad for leaf in leaves]


def weighted_sum(tensors: Sequence[Tensor]) -> Tensor:
    """Σ of the elements, each times a fixed random weight of variance one over their number, in float64."""
    generator = torch.Generator().manual_seed(99)
    total = torch.zeros((), dtype=torch.float64, device=tensors[0].device if tensors else None)
    for tensor in tensors:
        weight = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
        weight /= max(tensor.numel(), 1) ** 0.5
        total = total + (tensor.double() * weight).sum()
    return total


def wake(module: nn.Module, seed: int) -> None:
    """Move every floating parameter off its initial value: normal noise of 0.3/√fan-in, for vectors of 0.2."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.is_floating_point():
                continue
            fan_in = parameter.numel() / max(parameter.shape[0], 1) if parameter.dim() >= 2 else 1
            scale = _WEIGHT_NOISE / math.sqrt(max(fan_in, 1)) if parameter.dim() >= 2 else _VECTOR_NOISE
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.add_(noise.to(parameter.device, parameter.dtype))


def settle(module: nn.Module, args: Sequence[Tensor]) -> None:
    """Give batch norms the statistics of ``args``: in eval mode they then act as after training."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        with torch.no_grad():
            call(module.train(), args)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
