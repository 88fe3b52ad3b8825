"""What the probed pixel is and how its gradient is computed, decided once for every initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from convbench.errors import ConvbenchError, TargetError
from convbench.measures.erf.features import FeatureMap, feature_map, last_feature_map
from convbench.measures.erf.gradient import input_gradient
from convbench.measures.erf.probe import grid_centre, nearest_position
from convbench.measures.erf.result import Box, Method
from convbench.measures.erf.target import Target


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
class View:
    """What is probed of one initialisation, and how.

    layer, position, output_size, centre, receptive_field, field_source, method, reason: see ``Erf``.
    channels: of the probed features. field: the part of the image that can have a gradient.
    """

    layer: str | None
    channels: int
    output_size: tuple[int, int]
    position: tuple[int, int]
    centre: tuple[float, float]
    receptive_field: Box | None
    field_source: Literal["propagated", "probed"]
    field: Box
    evaluator: Evaluator
    method: Method
    reason: str | None
    warnings: tuple[str, ...]


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


def look(target: Target, module: nn.Module, warnings: list[str]) -> View:
    """Decide what to probe of ``module`` and how to compute it. Raises TargetError if the module refuses its input."""
    image = target.image
    layer, warnings = target.settings.layer, list(warnings)
    x = torch.zeros(1, *target.input_shape, dtype=target.dtype, device=target.device)
    try:
        if layer is None and (layer := last_feature_map(module, x)) is not None:
            warnings.append(f"the output is pooled to class scores: probed at {layer}, the last feature map")
        features = feature_map(module, layer)
        with torch.no_grad():
            output = features(x)
    except ConvbenchError:
        raise
    except Exception as error:  # the module is the user's own
        raise TargetError(
            f"{type(module).__name__} fails on an input {(1, *target.input_shape)}: {type(error).__name__}: {error}"
        ) from error
    _, channels, height, width = output.shape
    rows, columns = ((length, image[axis]) for axis, length in enumerate((height, width)))
    position = (_grid_position(*rows), _grid_position(*columns))
    centre = (grid_centre(image[0], height, position[0]), grid_centre(image[1], width, position[1]))
    return View(
        layer, channels, (height, width), position, centre, None, "probed", Box.whole(*image),
        FullMap(features, image, position, target.settings.mode == "replknet"), "full", None, tuple(warnings),
    )  # fmt: skip


def _grid_position(count: int, image: int) -> int:
    return nearest_position(image, grid_centre(image, count, 0), image / count, count)
