"""What the probed features are, found without computing them where that is possible."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convbench.errors import ConvbenchError, TargetError
from convbench.measures.erf.demand import Recording, Untraceable, record
from convbench.measures.erf.features import as_features, is_pooled, reached_output, watching_maps
from convbench.measures.erf.form import Form
from convbench.measures.erf.target import Target


@dataclass(frozen=True, slots=True)
class Outline:
    """The probed features: of which layer, how many channels and pixels, and what is known of the way to them.

    recording: where boxes can be computed; else obstacle says why not. unbounded: whether they are known to depend on
    the whole image. operators: those that ran, where they could be recorded. form: how the layer's output is laid out.
    path: the recording whose local path says where the features lie, where they do.
    """

    layer: str | None
    channels: int
    output_size: tuple[int, int]
    recording: Recording | None
    obstacle: str | None
    unbounded: bool = False
    operators: frozenset[str] = frozenset()
    form: Form | None = None
    path: Recording | None = None


def outline_of(target: Target, module: nn.Module) -> Outline:
    """Record ``module``, or run it once where it cannot be recorded.

    Raises TargetError if it refuses its input, and what ``feature_map`` raises.
    """
    try:
        found = record(
            module, target.settings.layer, target.input_shape, target.dtype, target.device, target.settings.form
        )
    except ConvbenchError:
        raise
    except Untraceable as reason:
        return _by_running(target, module, str(reason))
    except Exception as error:  # some modules refuse tensors without content
        return _by_running(target, module, f"it cannot be recorded ({type(error).__name__}: {error})")
    usable, path = found if found.obstacle is None else None, found if found.is_placed else None
    return Outline(
        found.layer, found.channels, found.output_size, usable, found.obstacle, found.unbounded, found.operators,
        found.form, path,
    )  # fmt: skip


def _by_running(target: Target, module: nn.Module, obstacle: str) -> Outline:
    layer, form = target.settings.layer, target.settings.form
    x = torch.zeros(1, *target.input_shape, dtype=target.dtype, device=target.device)
    maps: list[tuple[str, Tensor]] = []

    def seen(name: str, output: Tensor) -> None:
        if output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            maps.append((name, output))

    try:
        with torch.no_grad(), watching_maps(module, seen):
            output = module(x) if layer is None else reached_output(module, layer)(x)
    except ConvbenchError:
        raise
    except Exception as error:  # the module is the user's own
        raise TargetError(
            f"{type(module).__name__} fails on an input {tuple(x.shape)}: {type(error).__name__}: {error}"
        ) from error
    if layer is None and form is None and is_pooled(output) and maps:
        layer, output = maps[-1]
    shape = as_features(output, "the output" if layer is None else f"layer {layer}", form).shape
    return Outline(layer, shape[1], (shape[2], shape[3]), None, obstacle, form=form)
