"""Drawing samples and adding up what the probed pixel sees of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from convbench.errors import MeasurementError, TargetError
from convbench.execution.out_of_memory import is_out_of_memory
from convbench.measures.erf.crop import FieldOutgrown
from convbench.measures.erf.gradient import contribution
from convbench.measures.erf.interval import Labels, pooled_weights
from convbench.measures.erf.probe import channel_weights, sample_generator
from convbench.measures.erf.result import Box, Floats
from convbench.measures.erf.target import Target
from convbench.measures.erf.view import View

_GROUP_BYTES = 1 << 28
_CANCELLED = 1e-3


class GroupedMaps:
    """Sums of maps by group of samples, from which every figure and its uncertainty is computed.

    A group is one sample of one initialisation, or several where so many maps would not fit into 256 MiB.
    """

    def __init__(self, initialisations: int, samples: int) -> None:
        self._initialisations = initialisations
        self._samples = samples
        self._per_initialisation = 0
        self._sums = np.zeros((0, 0, 0, 0))
        self._counts = np.zeros((0, 0), np.intp)
        self.box = Box(0, 0, 0, 0)

    def add(self, initialisation: int, sample: int, map_: Floats, box: Box) -> None:
        """Add one sample's map over ``box``."""
        if not self._per_initialisation:
            self._start(box)
        elif self.box.union(box) != self.box:
            self._enlarge(self.box.union(box))
        group = sample % self._per_initialisation
        self._sums[initialisation, group, box.rows(self.box), box.columns(self.box)] += map_
        self._counts[initialisation, group] += 1

    def groups(self) -> tuple[Floats, Labels]:
        """Mean map of every group that holds a sample: (G, h, w) over ``box``; and the initialisation of each: (G,)."""
        filled = self._counts > 0
        means: Floats = self._sums[filled] / self._counts[filled][:, None, None]
        return means, np.nonzero(filled)[0]

    def any(self) -> bool:
        """Whether a map is not zero."""
        return bool(self._sums.any())

    def pooled(self, image: tuple[int, int]) -> Floats:
        """The mean over initialisations of the mean over samples, on the whole image: (H, W)."""
        groups, labels = self.groups()
        whole = Box.whole(*image)
        map_ = np.zeros(image)
        map_[self.box.rows(whole), self.box.columns(whole)] = np.tensordot(pooled_weights(labels), groups, 1)
        return map_

    def _start(self, box: Box) -> None:
        affordable = _GROUP_BYTES // (8 * box.height * box.width * self._initialisations)
        self._per_initialisation = min(self._samples, max(affordable, 4))
        self._sums = np.zeros((self._initialisations, self._per_initialisation, box.height, box.width))
        self._counts = np.zeros(self._sums.shape[:2], np.intp)
        self.box = box

    def _enlarge(self, box: Box) -> None:
        sums = np.zeros((*self._sums.shape[:2], box.height, box.width))
        sums[:, :, self.box.rows(box), self.box.columns(box)] = self._sums
        self._sums, self.box = sums, box


def draw(target: Target, view: View, initialisation: int, samples: Sequence[int], maps: GroupedMaps) -> bool:
    """Add the maps of these samples of one initialisation.

    Returns whether all ones over the output channels leave (next to) nothing of what random signs show, in which case
    the maps are rounding noise. Raises MeasurementError on a gradient that is not finite, TargetError if a pass fails.
    """
    settings, evaluator = target.settings, view.evaluator
    signs = replace(target, settings=replace(settings, probe="signs"))
    is_doubtful = settings.probe == "ones" and settings.mode == "convbench" and 0 in samples
    passes = [(target, sample) for sample in samples] + [(signs, 0)] * is_doubtful
    totals: dict[str, float] = {}
    for start in range(0, len(passes), evaluator.batch):
        chunk = passes[start : start + evaluator.batch]
        pairs = [_sample(probed, view, initialisation, sample) for probed, sample in chunk]
        x = _stacked([pair[0] for pair in pairs]).to(target.device, target.dtype)
        weights = torch.stack([pair[1] for pair in pairs]).to(target.device, target.dtype)
        found = contribution(_gradient(target, view, x, weights), settings.statistic).cpu().numpy()
        if not np.isfinite(found).all():
            raise MeasurementError(
                f"the gradient of initialisation {initialisation} is not finite ({settings.dtype}): "
                "check the weights, or measure in float64"
            )
        for (probed, sample), map_ in zip(chunk, found, strict=True):
            if sample == 0:
                totals[probed.settings.probe] = float(map_.sum())
            if probed is target:
                maps.add(initialisation, sample, map_, evaluator.box)
    return is_doubtful and totals["ones"] < _CANCELLED * totals["signs"]


def _gradient(target: Target, view: View, x: Tensor, weights: Tensor) -> Tensor:
    try:
        return view.evaluator.gradient(x, weights)
    except FieldOutgrown:
        raise
    except Exception as error:  # the module is the user's own
        if is_out_of_memory(error) or isinstance(error, MeasurementError):
            raise
        raise TargetError(
            f"the target fails on an input {(len(x), *target.input_shape)}: {type(error).__name__}: {error}"
        ) from error


def _sample(target: Target, view: View, initialisation: int, sample: int) -> tuple[Tensor, Tensor]:
    """The part of one sample that the evaluator asks for, and the weights of the probed channels."""
    generator = sample_generator(target.settings.seed, initialisation, sample)
    weights = channel_weights(target.settings.probe, view.channels, generator)
    x = target.settings.inputs.window(sample, generator, target.input_shape, view.field, view.evaluator.box)
    return x, weights


def _stacked(samples: list[Tensor]) -> Tensor:
    """(n, C, H, W), channels last: what convolutions of small boxes and normalisations over channels are fastest on."""
    first = samples[0]
    x = torch.empty((len(samples), *first.shape), dtype=first.dtype, memory_format=torch.channels_last)
    for place, sample in zip(x, samples, strict=True):
        place.copy_(sample)
    return x
