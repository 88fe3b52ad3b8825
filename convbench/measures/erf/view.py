"""Which output pixel is probed and how its gradient is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from convbench.measures.erf.crop import CropMap, crop, may_crop
from convbench.measures.erf.demand import Recording, demand
from convbench.measures.erf.evaluators import DemandMap, Evaluator, FullMap, box_of
from convbench.measures.erf.features import FeatureMap, feature_map
from convbench.measures.erf.outline import Outline, outline_of
from convbench.measures.erf.probe import grid_centre, nearest_position, sample_generator
from convbench.measures.erf.result import Box, Method
from convbench.measures.erf.target import Target

_Number = TypeVar("_Number", int, float)
_CROP_PROBES = 2


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


def look(target: Target, module: nn.Module) -> View:
    """Decide what to probe of ``module`` and how to compute it.

    Raises TargetError if the module refuses its input, and what ``feature_map`` raises.
    """
    outline = outline_of(target, module)
    view = None
    if outline.recording is not None:
        view = _propagated(target, module, outline, outline.recording)
    # Where nothing of the input is used, the full map finds that out as well, and says so.
    return view or _on_grid(target, module, outline)


def _propagated(target: Target, module: nn.Module, outline: Outline, recording: Recording) -> View | None:
    """The view of a module whose boxes can be computed; None where the probed pixel does not depend on the input."""
    image, relu = target.image, target.settings.mode == "replknet"
    position = _blind_position(outline.output_size) if relu else _centred_position(recording, image)
    field, needed = demand(recording, position, within=False), demand(recording, position, within=True)
    if field is None or needed is None:
        return None
    evaluator: Evaluator = DemandMap.of(recording, needed, relu, target.dtype)
    reason = None
    if target.settings.evaluation == "full":
        evaluator, reason = (
            FullMap(feature_map(module, outline.layer, outline.form), image, position, relu),
            "asked for",
        )
    return View(
        outline.layer, outline.channels, outline.output_size, position, box_of(field).centre, box_of(field),
        "propagated", box_of(needed), evaluator, "full" if reason else "demand", reason,
    )  # fmt: skip


def _on_grid(target: Target, module: nn.Module, outline: Outline) -> View:
    """The view of any other module: outputs are taken to lie evenly over the input, unless a probe shows better."""
    image, output_size = target.image, outline.output_size
    relu = target.settings.mode == "replknet"
    features = feature_map(module, outline.layer, outline.form)
    if outline.path is not None:
        position = _blind_position(output_size) if relu else _centred_position(outline.path, image)
        field = demand(outline.path, position, within=False)
        if field is not None:
            full = FullMap(features, image, position, relu)
            return View(
                outline.layer, outline.channels, output_size, position, box_of(field).centre, None,
                "propagated" if outline.unbounded else "probed", full.box, full, "full", outline.obstacle,
            )  # fmt: skip
    position = _blind_position(output_size) if relu else _pair(_grid_position, output_size, image)
    cropped = _cropped(target, outline, features, position)
    if cropped is not None and not relu:
        # Shift by as many output pixels as the probed field is off the middle of the image.
        position = _pair(_shifted, position, output_size, image, cropped.reached.centre)
        cropped = _cropped(target, outline, features, position)
    centre = cropped.reached.centre if cropped else _pair(grid_centre, image, output_size, position)
    evaluator = cropped or FullMap(features, image, position, relu)
    return View(
        outline.layer, outline.channels, output_size, position, centre, None,
        "probed", evaluator.box, evaluator, "crop" if cropped else "full", outline.obstacle,
    )  # fmt: skip


def _cropped(target: Target, outline: Outline, features: FeatureMap, position: tuple[int, int]) -> CropMap | None:
    """The module on the part of the image that its first samples reach, where that is cheaper and exact."""
    settings, drawn = target.settings, target.samples * target.initialisations
    worthwhile = drawn > 2 * _CROP_PROBES and not outline.unbounded and settings.evaluation == "auto"
    if not worthwhile or not may_crop(outline.operators, target.dtype):
        return None
    generator = sample_generator(settings.seed, 0, 0)
    x = torch.randn(_CROP_PROBES, *target.input_shape, generator=generator).to(target.device, target.dtype)
    weights = torch.randn(_CROP_PROBES, outline.channels, generator=generator).to(x)
    return crop(features, x, weights, position, outline.output_size, settings.mode == "replknet")


def _centred_position(recording: Recording, image: tuple[int, int]) -> tuple[int, int]:
    """The output pixel whose theoretical receptive field is centred nearest to the middle of the image."""
    size = recording.output_size
    first, last = _centre(recording, (0, 0)), _centre(recording, (size[0] - 1, size[1] - 1))
    strides = [(last[axis] - first[axis]) / max(size[axis] - 1, 1) for axis in range(2)]
    guess = [nearest_position(image[axis], first[axis], strides[axis], size[axis]) for axis in range(2)]
    if all(stride == int(stride) > 0 for stride in strides):
        return guess[0], guess[1]
    # Where outputs are denser than inputs, or lie between them, centres move unevenly: look at the neighbours as well.
    found = []
    centres = {shift: _centre(recording, _moved(guess, shift, size)) for shift in (-1, 0, 1)}
    for axis in range(2):
        offsets = {
            _moved(guess, shift, size)[axis]: abs(centre[axis] - (image[axis] - 1) / 2)
            for shift, centre in centres.items()
        }
        found.append(min(offsets, key=lambda index: (round(offsets[index], 9), abs(index - size[axis] // 2))))
    return found[0], found[1]


def _moved(position: Sequence[int], shift: int, size: tuple[int, int]) -> tuple[int, int]:
    return min(max(position[0] + shift, 0), size[0] - 1), min(max(position[1] + shift, 0), size[1] - 1)


def _centre(recording: Recording, position: tuple[int, int]) -> tuple[float, float]:
    """Of the theoretical field of an output pixel; the corner where it sees nothing."""
    field = demand(recording, position, within=False)
    return (0.0, 0.0) if field is None else box_of(field).centre


def _blind_position(output_size: tuple[int, int]) -> tuple[int, int]:
    return output_size[0] // 2, output_size[1] // 2


def _grid_position(count: int, image: int) -> int:
    return nearest_position(image, grid_centre(image, count, 0), image / count, count)


def _shifted(index: int, count: int, image: int, centre: float) -> int:
    stride = image / count
    return nearest_position(image, centre - index * stride, stride, count)


def _pair(function: Callable[..., _Number], *pairs: Sequence[float]) -> tuple[_Number, _Number]:
    """``function`` along height and along width."""
    first, second = zip(*pairs, strict=True)
    return function(*first), function(*second)
