"""Measuring an effective receptive field: draw samples, add up their maps, put figures on the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from convbench.errors import EmptyMapError, NotDefinedError, ShapeError
from convbench.execution.guard import isolated
from convbench.inputs import Drawn, Shape
from convbench.measures.erf.crop import FieldOutgrown
from convbench.measures.erf.interval import Labels, assess, pooled_weights, precise_enough
from convbench.measures.erf.metrics import Ruler, Sums
from convbench.measures.erf.replknet import replknet_figures
from convbench.measures.erf.result import Box, Erf, Floats
from convbench.measures.erf.samples import GroupedMaps, draw
from convbench.measures.erf.scales import zero_weights
from convbench.measures.erf.settings import ErfSettings
from convbench.measures.erf.target import Target
from convbench.measures.erf.view import View, look
from convbench.target.arguments import Arguments
from convbench.target.blueprint import Subject

_FIRST_ROUND = 8


def run(subject: Subject, settings: ErfSettings | None = None) -> Erf:
    """The measure of a built case: a field on few samples; ``convbench erf`` draws more of them.

    Raises NotDefinedError for what is no image.
    """
    shape = image_of((subject.args, dict(subject.kwargs)))
    if shape is None:
        raise NotDefinedError("a receptive field needs one input of shape N,C,H,W")
    # Initialisations differ more than samples do; those of a network take long to build and to differentiate.
    quick = ErfSettings(seeds=1, samples=8) if subject.kind == "network" else ErfSettings(seeds=8, samples=4)
    source = subject.initialised or subject.module
    return measure_erf(source, shape, settings or quick, device=subject.case.device)


def image_of(arguments: Arguments) -> Shape | None:
    """The shape of the one argument of a call, if that is a batch of images or feature maps: floating, by position."""
    args, kwargs = arguments
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor | Drawn) or len(args[0].shape) != 4:
        return None
    dtype = args[0].dtype or torch.float32
    kind: torch.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return tuple(args[0].shape) if kind.is_floating_point else None


def measure_erf(
    build: Callable[[int], nn.Module] | nn.Module,
    shape: tuple[int, ...],
    settings: ErfSettings | None = None,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[str], None] = lambda _: None,
) -> Erf:
    """The effective receptive field of a module: mean over samples of Σ_in-channels |∂score/∂input|, and its figures.

    build: a function from a seed to a freshly initialised module, so that several initialisations can be pooled; or a
        module, whose weights are then the only ones. It is left bit for bit as it was, as is the random state.
    shape: (N, C, H, W) of the input; N does not matter.
    score: Σ_c ±features[:, c] at the output pixel whose receptive field is centred nearest to the image's centre.

    Raises EmptyMapError when nothing of the input reaches the output, MeasurementError when a gradient is not finite,
    ShapeError, OptionError and TargetError on a request that does not fit the module.
    Source: Luo et al. 2016 (arXiv:1701.04128).
    """
    settings = settings or ErfSettings()
    if settings.mode == "replknet":
        settings = replace(settings, statistic="relu", probe="ones")
    if len(shape) != 4 or min(shape) < 1:
        raise ShapeError(f"a receptive field needs an input shape (N, C, H, W); got {tuple(shape)}")
    target = Target(build, (int(shape[1]), int(shape[2]), int(shape[3])), settings, torch.device(device))
    with _undisturbed(target.device):
        try:
            found = sampled(target, progress)
        except FieldOutgrown:
            found = sampled(replace(target, settings=replace(settings, evaluation="full")), progress)
        return _result(target, found)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Maps of the samples drawn, and what was probed. samples: per initialisation. view: of the last one."""

    maps: GroupedMaps
    samples: int
    view: View
    warnings: list[str]


def sampled(target: Target, progress: Callable[[str], None] = lambda _: None) -> Sampled:
    """Draw samples of every initialisation, all or as many as the precision needs.

    Raises EmptyMapError when nothing of the input reaches the output, and FieldOutgrown (see ``crop``).
    """
    maps, is_cancelled = GroupedMaps(target.initialisations, target.samples), False
    for samples in _rounds(target):
        for initialisation in range(target.initialisations):
            progress(f"initialisation {initialisation + 1} of {target.initialisations}")
            module, warnings = target.module(initialisation)
            view = look(target, module)
            is_cancelled |= draw(target, view, initialisation, samples, maps)
        if not maps.any():
            raise EmptyMapError(_why_empty(module))
        if samples.stop < target.samples and _is_precise(target, maps, view):
            break
    return Sampled(maps, samples.stop, view, [*warnings, *_doubts(target, view, is_cancelled)])


def _is_precise(target: Target, maps: GroupedMaps, view: View) -> bool:
    ruler, sums, labels = _measured(target, maps, view)
    return precise_enough(ruler, sums, labels, target.settings.precision or 0.0)


def _measured(target: Target, maps: GroupedMaps, view: View) -> tuple[Ruler, Sums, Labels]:
    """The ruler of a field, what it reads off every group of samples, and the initialisation of each."""
    groups, labels = maps.groups()
    ruler = Ruler(groups.sum(axis=0), maps.box, target.image, view.centre)
    return ruler, ruler.sums(groups), labels


def _result(target: Target, found: Sampled) -> Erf:
    settings, view = target.settings, found.view
    ruler, sums, labels = _measured(target, found.maps, view)
    assessment = assess(ruler, sums, labels, intervals=settings.bootstrap > 0)
    pooled = sums.mixed(pooled_weights(labels)[None])
    map_ = found.maps.pooled(target.image)
    support = _support(map_)
    return Erf(
        map=map_,
        metrics=assessment.metrics,
        uncertainty=assessment.uncertainty,
        per_initialisation=assessment.per_initialisation,
        profile=ruler.profile(pooled),
        position=view.position,
        output_size=view.output_size,
        centre=view.centre,
        receptive_field=view.receptive_field,
        field_source=view.field_source,
        support=support,
        samples=found.samples,
        initialisations=target.initialisations,
        statistic=settings.statistic,
        probe=settings.probe,
        layer=view.layer,
        depth=settings.depth,
        dtype=settings.dtype,
        mode=settings.mode,
        inputs=settings.inputs.description,
        method=view.method,
        reason=view.reason,
        warnings=tuple(found.warnings),
        replknet=replknet_figures(map_) if settings.mode == "replknet" else None,
        two_gaussians=ruler.two_gaussians(pooled, assessment.metrics.agd),
    )


def _rounds(target: Target) -> list[range]:
    """Samples drawn of every initialisation before errors are judged: all, or with a precision 8, 8, 16, 32, …"""
    if target.settings.precision is None:
        return [range(target.samples)]
    rounds = [range(min(_FIRST_ROUND, target.samples))]
    while rounds[-1].stop < target.samples:
        rounds.append(range(rounds[-1].stop, min(2 * rounds[-1].stop, target.samples)))
    return rounds


def _doubts(target: Target, view: View, is_cancelled: bool) -> list[str]:
    """What else a reader must be told."""
    settings = target.settings
    doubts = []
    if view.layer != settings.layer:
        doubts.append(f"the output is pooled to class scores: probed at {view.layer}, the last feature map")
    if target.samples < settings.samples:
        doubts.append(f"{settings.samples} samples asked for, {settings.inputs.description} holds {target.samples}")
    if is_cancelled:
        doubts.append(
            "the sum over output channels is cancelled by a normalisation over them, which leaves rounding noise: "
            "probe with signs"
        )
    return doubts


def _support(map_: Floats) -> Box:
    rows, columns = np.flatnonzero(map_.any(axis=1)), np.flatnonzero(map_.any(axis=0))
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _why_empty(module: nn.Module) -> str:
    message = f"no pixel of the input changes the probed output of {type(module).__name__}: the map is zero everywhere"
    names = zero_weights(module)
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        message += f". These weights are all zero: {shown}. Load trained weights or initialise them"
    return message


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Keep everything around the module as it is, and compute float32 as float32 (a GPU would round to TF32)."""
    with isolated(device, fast_attention=True):
        if device.type == "cuda":
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        yield
