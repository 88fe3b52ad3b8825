"""Measuring an effective receptive field: draw samples, add up their maps, put figures on the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from convbench.errors import EmptyMapError, ShapeError
from convbench.measures.erf.interval import initialisation_weights, pooled_weights, precise_enough, uncertainty
from convbench.measures.erf.metrics import Ruler, first_metrics
from convbench.measures.erf.replknet import replknet_figures
from convbench.measures.erf.result import Box, Erf, Floats
from convbench.measures.erf.samples import GroupedMaps, draw
from convbench.measures.erf.settings import ErfSettings
from convbench.measures.erf.shadow import zero_weights
from convbench.measures.erf.target import Target
from convbench.measures.erf.view import View, look

_FIRST_ROUND = 8


def measure_erf(
    build: Callable[[int], nn.Module] | nn.Module,
    shape: tuple[int, ...],
    settings: ErfSettings | None = None,
    *,
    device: str | torch.device = "cpu",
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
        return _measure(target)


def _measure(target: Target) -> Erf:
    settings = target.settings
    maps: GroupedMaps | None = None
    drawn = 0
    while drawn < target.samples:
        # With a precision, errors are judged after 8, 16, 32, … samples of each initialisation.
        last = target.samples if settings.precision is None else min(max(2 * drawn, _FIRST_ROUND), target.samples)
        for initialisation in range(target.initialisations):
            module, warnings = target.module(initialisation)
            view = look(target, module, warnings)
            maps = maps or GroupedMaps(view.evaluator.box, target.initialisations, target.samples)
            draw(target, view, initialisation, range(drawn, last), maps)
        drawn = last
        assert maps is not None
        result = _result(target, view, module, maps, drawn)
        if settings.precision is not None and precise_enough(result.uncertainty, result.metrics, settings.precision):
            break
    return result


def _result(target: Target, view: View, module: nn.Module, maps: GroupedMaps, drawn: int) -> Erf:
    settings = target.settings
    groups, labels = maps.groups()
    if not groups.any():
        raise EmptyMapError(_why_empty(module))
    ruler = Ruler(groups.sum(axis=0), maps.box, target.image, view.centre)
    sums = ruler.sums(groups)
    pooled = sums.mixed(pooled_weights(labels)[None])
    each = ruler.figures(sums.mixed(initialisation_weights(labels)))
    map_ = np.zeros(target.image)
    whole = Box.whole(*target.image)
    map_[maps.box.rows(whole), maps.box.columns(whole)] = np.tensordot(pooled_weights(labels), groups, 1)
    return Erf(
        map=map_,
        metrics=first_metrics(ruler.figures(pooled)),
        uncertainty=uncertainty(ruler, sums, labels, settings.bootstrap, settings.seed),
        per_initialisation=tuple(
            first_metrics({name: column[index : index + 1] for name, column in each.items()})
            for index in range(target.initialisations)
        ),
        profile=ruler.profile(pooled),
        position=view.position,
        output_size=view.output_size,
        centre=view.centre,
        receptive_field=view.receptive_field,
        field_source=view.field_source,
        support=_support(map_),
        samples=drawn,
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
        warnings=view.warnings,
        replknet=replknet_figures(map_) if settings.mode == "replknet" else None,
    )


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
    """Keep the random state, and compute float32 as float32 (a GPU would round to TF32)."""
    is_cuda = device.type == "cuda"
    precision, cudnn_tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        try:
            if is_cuda:
                torch.set_float32_matmul_precision("highest")
                torch.backends.cudnn.allow_tf32 = False
            yield
        finally:
            if is_cuda:
                torch.set_float32_matmul_precision(precision)
                torch.backends.cudnn.allow_tf32 = cudnn_tf32
