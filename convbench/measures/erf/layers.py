"""The theoretical receptive field of every layer: its size, and where the outputs' fields lie in the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convbench.errors import MeasurementError, NotDefinedError
from convbench.execution.clone import clone
from convbench.measures.erf.demand import Recording, Untraceable, demand, record_layers
from convbench.measures.erf.evaluators import box_of
from convbench.measures.erf.result import Box
from convbench.target.packed import Packed
from convbench.workers.codec import encode
from convbench.workers.worker import Send


@dataclass(frozen=True, slots=True)
class LayerField:
    """A layer's output and its theoretical receptive field, along height and width, in pixels of the input.

    layer: dotted name, as ``--layer`` takes it; empty for the target itself. kind: its class.
    channels, height, width: of its output. field: of an output pixel inside the image. stride: from the centre of one
    field to that of the next, on average. start: of the centre of output 0's field; pixel 0 is the image's first.
    reason: why there is no field, where boxes cannot be propagated so far.
    """

    layer: str
    kind: str
    channels: int
    height: int
    width: int
    field_height_px: int | None = None
    field_width_px: int | None = None
    stride_y_px: float | None = None
    stride_x_px: float | None = None
    start_y_px: float | None = None
    start_x_px: float | None = None
    reason: str | None = None


def layer_fields(module: nn.Module, shape: tuple[int, ...], device: str | torch.device = "cpu") -> list[LayerField]:
    """Every submodule that gives a map, in the order of their ends, and the module itself. It is left as it was.

    shape: (N, C, H, W) of the input; N does not matter. The field is propagated through the operators: what kernels
    reach, whatever their weights. Raises MeasurementError where the pass depends on values and cannot be recorded.
    """
    copy = clone(module, "frozen").eval()
    parameters = [tensor.dtype for tensor in copy.parameters() if tensor.is_floating_point()]
    dtype = parameters[0] if parameters else torch.float32
    channels, height, width = shape[1:]
    try:
        recordings = record_layers(copy, (channels, height, width), dtype, torch.device(device))
    except Untraceable as reason:
        raise MeasurementError(f"the fields of layers cannot be propagated: {reason}") from reason
    kinds = {name: type(child).__name__ for name, child in module.named_modules()}
    return [_layer_field(recording, kinds[recording.layer or ""]) for recording in recordings]


def run(request: Mapping[str, Any], send: Send) -> Any:
    """The layers of the case ``packed``, each a `LayerField`, encoded, under ``layers``; the target's ``name``."""
    plan = Packed.from_json(request["packed"]).blueprint()
    shapes = plan.shapes()
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise NotDefinedError("a receptive field needs one input of shape N,C,H,W")
    found = layer_fields(plan.module(), tuple(shapes[0]), plan.case.device)
    return {"name": plan.name, "layers": [encode(layer) for layer in found]}


def _layer_field(recording: Recording, kind: str) -> LayerField:
    height, width = recording.output_size
    about = recording.layer or "", kind, recording.channels, height, width
    if recording.obstacle is not None:
        known = "the whole image" if recording.unbounded else "not known"
        return LayerField(*about, reason=f"{known}: {recording.obstacle}")
    middle, first, last = (
        _field(recording, position) for position in ((height // 2, width // 2), (0, 0), (height - 1, width - 1))
    )
    if middle is None or first is None or last is None:
        return LayerField(*about, reason="it sees nothing of the input")
    stride_y, stride_x = (
        (end - start) / (size - 1) if size > 1 else None
        for start, end, size in zip(first.centre, last.centre, (height, width), strict=True)
    )
    start_y, start_x = first.centre
    return LayerField(*about, middle.height, middle.width, stride_y, stride_x, start_y, start_x)


def _field(recording: Recording, position: tuple[int, int]) -> Box | None:
    found = demand(recording, position, within=False)
    return None if found is None else box_of(found)
