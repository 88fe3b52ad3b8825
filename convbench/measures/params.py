"""Parameters, buffers and the bytes they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convbench.column import described

if TYPE_CHECKING:
    from torch import nn

    from convbench.target.blueprint import Subject


@dataclass(frozen=True, slots=True)
class Params:
    """Sizes of a module's state.

    params, trainable_params: elements of the parameters, of those that require a gradient; a shared one counts once.
    buffers: elements of the buffers, those outside the state dict included (RefConv's basis, BatchNorm's statistics).
    weight_bytes: bytes of parameters and buffers together.
    """

    params: int = field(
        metadata=described(
            title="Parameters",
            convention="elements of all parameters, frozen ones included",
            show="count",
            summary="params",
            exact=True,
        )
    )
    trainable_params: int = field(
        metadata=described(
            title="Trainable", convention="elements of parameters that require a gradient", show="count", exact=True
        )
    )
    buffers: int = field(
        metadata=described(title="Buffers", convention="elements of buffers", show="count", exact=True)
    )
    weight_bytes: int = field(
        metadata=described(
            title="Weights", unit="B", convention="bytes of parameters and buffers", show="bytes", exact=True
        )
    )


def run(subject: Subject, settings: None = None) -> Params:
    """The measure of a built case."""
    return measure_params(subject.module)


def measure_params(module: nn.Module) -> Params:
    """Count what ``module`` holds; on any device, ``meta`` included.

    A lazy parameter that has no shape before the first call raises ValueError, as torch does.
    """
    parameters, buffers = list(module.parameters()), list(module.buffers())
    return Params(
        params=sum(parameter.numel() for parameter in parameters),
        trainable_params=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        buffers=sum(buffer.numel() for buffer in buffers),
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*parameters, *buffers]),
    )
