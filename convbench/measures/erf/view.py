"""What the probed pixel is and how its gradient is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from convbench.errors import ConvbenchError, TargetError
from convbench.measures.erf.crop import CropMap, crop, may_crop
from convbench.measures.erf.demand import Demand, Recording, Untraceable, demand, elements_per_sample, record
from convbench.measures.erf.demand import input_gradient as demanded_gradient
from convbench.measures.erf.features import FeatureMap, as_features, feature_map, is_pooled, watching_maps
from convbench.measures.erf.gradient import input_gradient
from convbench.measures.erf.probe import grid_centre, nearest_position, sample_generator
from convbench.measures.erf.result import Box, Method
from convbench.measures.erf.target import Target

_Number = TypeVar("_Number", int, float)
_CROP_PROBES = 2
_BATCH_BYTES = 1 << 25
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


@dataclass(frozen=True, slots=True)
class DemandMap:
    """Every operator on what the probed pixel sees of it."""

    recording: Recording
    demand: Demand
    relu: bool
    batch: int

    @property
    def box(self) -> Box:
        return _box(self.demand)

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        return demanded_gradient(self.recording, self.demand, x, weights, self.relu)


@dataclass(frozen=True, slots=True)
class _Outline:
    """The probed features: of which layer, how many channels and pixels.

    recording: where boxes can be computed; else obstacle says why not. operators: those that ran, if known.
    """

    layer: str | None
    channels: int
    output_size: tuple[int, int]
    recording: Recording | None
    obstacle: str | None
    operators: frozenset[str]


def look(target: Target, module: nn.Module, warnings: list[str]) -> View:
    """Decide what to probe of ``module`` and how to compute it.

    Raises TargetError if the module refuses its input, and what ``feature_map`` raises.
    """
    outline = _outline(target, module)
    if outline.layer != target.settings.layer:
        warnings = [
            *warnings, f"the output is pooled to class scores: probed at {outline.layer}, the last feature map"
        ]  # fmt: skip
    if outline.recording is not None:
        return _propagated(target, module, outline, outline.recording, warnings)
    return _on_grid(target, module, outline, warnings)


def _propagated(
    target: Target, module: nn.Module, outline: _Outline, recording: Recording, warnings: list[str]
) -> View:
    """The view of a module whose boxes can be computed."""
    image, output_size = target.image, outline.output_size
    relu = target.settings.mode == "replknet"
    position = _blind_position(output_size) if relu else _centred_position(recording, image)
    field = demand(recording, position, within=False)
    needed = demand(recording, position, within=True)
    if field is None or needed is None:
        # Nothing of the input is used: the full map finds that out as well, and says so.
        return _on_grid(target, module, outline, warnings)
    evaluator: Evaluator = DemandMap(recording, needed, relu, _batch(recording, needed, target.dtype))
    method: Method = "demand"
    reason = None
    if target.settings.evaluation == "full":
        features = feature_map(module, outline.layer)
        evaluator, method, reason = FullMap(features, image, position, relu), "full", "asked for"
    box = _box(field)
    return View(
        outline.layer, outline.channels, output_size, position, box.centre, box, "propagated", _box(needed),
        evaluator, method, reason, tuple(warnings),
    )  # fmt: skip


def _on_grid(target: Target, module: nn.Module, outline: _Outline, warnings: list[str]) -> View:
    """The view of any other module: outputs are taken to lie evenly over the input, unless a probe shows better."""
    image, output_size = target.image, outline.output_size
    relu = target.settings.mode == "replknet"
    features = feature_map(module, outline.layer)
    position = _blind_position(output_size) if relu else _pair(_grid_position, output_size, image)
    cropped = _cropped(target, outline, features, position)
    if cropped is not None and not relu:
        # Shift by as many output pixels as the probed field is off the middle of the image.
        position = _pair(_shifted, position, output_size, image, cropped.reached.centre)
        cropped = _cropped(target, outline, features, position)
    centre = cropped.reached.centre if cropped else _pair(grid_centre, image, output_size, position)
    evaluator = cropped or FullMap(features, image, position, relu)
    return View(
        outline.layer, outline.channels, output_size, position, centre, None, "probed",
        evaluator.box, evaluator, "crop" if cropped else "full", outline.obstacle, tuple(warnings),
    )  # fmt: skip


def _cropped(target: Target, outline: _Outline, features: FeatureMap, position: tuple[int, int]) -> CropMap | None:
    """The module on the part of the image that its first samples reach, where that is cheaper and exact."""
    settings, drawn = target.settings, target.samples * target.initialisations
    if settings.evaluation == "full" or drawn <= 2 * _CROP_PROBES or not may_crop(outline.operators, target.dtype):
        return None
    generator = sample_generator(settings.seed, 0, 0)
    x = torch.randn(_CROP_PROBES, *target.input_shape, generator=generator).to(target.device, target.dtype)
    weights = torch.randn(_CROP_PROBES, outline.channels, generator=generator).to(x)
    return crop(features, x, weights, position, outline.output_size, settings.mode == "replknet")


def _outline(target: Target, module: nn.Module) -> _Outline:
    layer = target.settings.layer
    try:
        recording = record(module, layer, target.input_shape, target.dtype, target.device)
    except ConvbenchError:
        raise
    except Untraceable as reason:
        return _outlined_by_running(target, module, str(reason))
    except Exception as error:  # some modules refuse tensors without content
        return _outlined_by_running(target, module, f"it cannot be recorded ({type(error).__name__}: {error})")
    usable = recording if recording.obstacle is None else None
    return _Outline(
        recording.layer, recording.channels, recording.output_size, usable, recording.obstacle, recording.operators
    )


def _outlined_by_running(target: Target, module: nn.Module, obstacle: str) -> _Outline:
    """Run the module once to see what it gives. Raises TargetError when it fails."""
    layer = target.settings.layer
    x = torch.zeros(1, *target.input_shape, dtype=target.dtype, device=target.device)
    maps: list[tuple[str, Tensor]] = []
    try:
        with torch.no_grad():
            if layer is not None:
                output = feature_map(module, layer)(x)
            else:
                with watching_maps(module, lambda name, found: maps.append((name, found))):
                    output = module(x)
                if is_pooled(output) and maps:
                    layer, output = maps[-1]
                output = as_features(output, "the output")
    except ConvbenchError:
        raise
    except Exception as error:  # the module is the user's own
        raise TargetError(
            f"{type(module).__name__} fails on an input {tuple(x.shape)}: {type(error).__name__}: {error}"
        ) from error
    return _Outline(layer, output.shape[1], (output.shape[2], output.shape[3]), None, obstacle, frozenset())


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
    """Of the theoretical field of an output pixel; the middle of nothing where it sees nothing."""
    field = demand(recording, position, within=False)
    return (0.0, 0.0) if field is None else _box(field).centre


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


def _batch(recording: Recording, needed: Demand, dtype: torch.dtype) -> int:
    """As many samples as keep what a pass holds within the cache of a processor, about."""
    size = elements_per_sample(recording, needed) * dtype.itemsize
    return min(max(_BATCH_BYTES // size, 1), _MAX_BATCH)


def _box(found: Demand) -> Box:
    (top, bottom), (left, right) = found.regions[0]
    return Box(top, bottom, left, right)
