"""The ways of computing input gradients: on demand, box by box, or by the module as it is on whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from convbench.measures.erf.demand import Demand, Recording, elements_per_sample
from convbench.measures.erf.demand import input_gradient as demanded_gradient
from convbench.measures.erf.features import FeatureMap
from convbench.measures.erf.gradient import input_gradient
from convbench.measures.erf.result import Box

_BATCH_BYTES = 5 << 26
_MAX_BATCH = 64


class Evaluator(Protocol):
    """Computes input gradients on one part of the image."""

    @property
    def box(self) -> Box:
        """The part of the image that samples are given on and gradients come back for."""

    @property
    def batch(self) -> int:
        """How many samples at a time are fastest."""

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """x: (n, C, box.height, box.width); weights: (n, c) of the probed channels. The gradient is like x."""


@dataclass(frozen=True, slots=True)
class FullMap:
    """The module as it is, on whole images, one at a time: batches of large maps leave the caches and are slower."""

    features: FeatureMap
    image: tuple[int, int]
    position: tuple[int, int]
    relu: bool
    batch: int = 1

    @property
    def box(self) -> Box:
        return Box.whole(*self.image)

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        return input_gradient(self.features, x, weights, self.position, self.relu)


@dataclass(frozen=True, slots=True)
class DemandMap:
    """Every operator on what the probed pixel sees of it."""

    recording: Recording
    demand: Demand
    relu: bool
    batch: int

    @classmethod
    def of(cls, recording: Recording, demand: Demand, relu: bool, dtype: torch.dtype) -> DemandMap:
        """With as many samples at a time as hide the cost of calls and stay below some 300 MiB."""
        size = elements_per_sample(recording, demand) * dtype.itemsize
        return cls(recording, demand, relu, min(max(_BATCH_BYTES // size, 1), _MAX_BATCH))

    @property
    def box(self) -> Box:
        return box_of(self.demand)

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        return demanded_gradient(self.recording, self.demand, x, weights, self.relu)


def box_of(demand: Demand) -> Box:
    """The input's part of a demand."""
    (top, bottom), (left, right) = demand.regions[0]
    return Box(top, bottom, left, right)
