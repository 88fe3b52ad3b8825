"""Checks of input shapes: odd sizes, no samples, no memory at all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from convbench.verify.agreement import shapes_of, tensors_in
from convbench.verify.calls import first_line
from convbench.verify.result import Failed, NotApplicable
from convbench.verify.trial import Trial

_REFUSALS = (ValueError, AssertionError)
"""What a module raises that checks its input; a RuntimeError is one that does not."""


def odd_sizes(trial: Trial) -> str:
    """Heights and widths that are odd and differ give finite outputs; a module that keeps its size keeps these too."""
    images = [shape for shape in trial.shapes if len(shape) == 4]
    if not images:
        raise NotApplicable("no input is an image")
    height, width = images[0][2:]
    keeps = [_keeps_size(tensor, (height, width)) for tensor in tensors_in(trial.output)]
    odd, refused = [(height - 1 | 1, width + 3 | 1), (height + 9 | 1, width - 5 | 1)], []
    odd = [(max(h, 1), max(w, 1)) for h, w in odd]
    for size in odd:
        try:
            tensors = tensors_in(trial.infer(trial.module, trial.draw(seed=0, size=size)))
        except _REFUSALS as error:
            refused.append(f"refuses {_by(size)}: {first_line(error)}")
            continue
        _require_images(tensors, keeps, size)
    if len(refused) == len(odd):
        raise NotApplicable(refused[0])
    return "; ".join([f"{', '.join(map(_by, odd[len(refused) :]))}", *refused]) if refused else ", ".join(map(_by, odd))


def _require_images(tensors: list[Tensor], keeps: list[bool], size: tuple[int, int]) -> None:
    for tensor, kept in zip(tensors, keeps, strict=True):
        if kept and not _keeps_size(tensor, size):
            raise Failed(f"keeps the size of even inputs, but {_by(size)} gives {shapes_of([tensor])}")
        if not tensor.isfinite().all():
            raise Failed(f"{_by(size)} gives outputs that are not finite")


def _keeps_size(tensor: Tensor, size: tuple[int, int]) -> bool:
    return tensor.dim() == 4 and tuple(tensor.shape[2:]) == size


def empty_batch(trial: Trial) -> str:
    """No samples in, no samples out, other extents as ever: the last batch of a worker may be empty."""
    expected = [tensor.shape for tensor in tensors_in(trial.output)]
    if any(not shape or shape[0] != trial.args[0].shape[0] for shape in expected):
        raise NotApplicable("the outputs have no batch dimension")
    tensors = tensors_in(trial.infer(trial.module, trial.draw(seed=0, batch=0)))
    if [tensor.shape for tensor in tensors] != [(0, *shape[1:]) for shape in expected]:
        raise Failed(f"gives {shapes_of(tensors)}")
    return ""


def meta(trial: Trial) -> str:
    """On the meta device everything is a shape: the same state, the same outputs as a real run, nothing computed."""
    module = trial.fresh(device="meta")
    expected = {name: (tuple(t.shape), t.dtype) for name, t in _state(trial.module)}
    if {name: (tuple(t.shape), t.dtype) for name, t in _state(module)} != expected:
        raise Failed("the state differs in names, shapes or dtypes from that of a real build")
    args = [arg.to("meta") for arg in trial.args]
    outputs, real_outputs = tensors_in(trial.infer(module, args)), tensors_in(trial.output)
    if any(tensor.device.type != "meta" for tensor in outputs):
        raise Failed("an output is real although every input is on meta")
    if [(t.shape, t.dtype) for t in outputs] != [(t.shape, t.dtype) for t in real_outputs]:
        raise Failed(f"gives {shapes_of(outputs)}, a real run {shapes_of(real_outputs)}")
    return ""


def _state(module: Any) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
