"""The feature map that is probed: of the module itself, of an inner layer, or the last one before pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convbench.errors import OptionError, ShapeError, TargetError, nearest
from convbench.measures.erf.form import LAYOUTS, Form

FeatureMap = Callable[[Tensor], Tensor]
"""(N, C, H, W) → (N, c, h, w)."""


class _ReachedLayer(Exception):  # noqa: N818 - control flow, never seen outside
    def __init__(self, output: object) -> None:
        self.output = output


def feature_map(module: nn.Module, layer: str | None, form: Form | None = None) -> FeatureMap:
    """The function from inputs to the probed features (N, C, H, W). Raises OptionError when no submodule is named so.

    The pass ends at the layer: what follows is never computed. The function raises TargetError or ShapeError when what
    it finds is no feature map.
    """
    what = "the output" if layer is None else f"layer {layer}"
    run = module if layer is None else reached_output(module, layer)
    return lambda x: as_features(run(x), what, form)


def reached_output(module: nn.Module, layer: str) -> Callable[[Tensor], object]:
    """The function from inputs to what a submodule gives, as it gives it. Raises OptionError; see ``feature_map``."""
    try:
        submodule = module.get_submodule(layer)
    except AttributeError:
        names = [name for name, _ in module.named_modules() if name]
        raise OptionError(
            f"{type(module).__name__} has no layer {layer!r}.{nearest(layer, names)} "
            f"Its outermost layers: {', '.join(name for name, _ in module.named_children()) or 'none'}"
        ) from None

    def reach(_module: nn.Module, _args: object, output: object) -> None:
        raise _ReachedLayer(output)

    def run(x: Tensor) -> object:
        handle = submodule.register_forward_hook(reach)
        try:
            module(x)
        except _ReachedLayer as reached:
            return reached.output
        finally:
            handle.remove()
        raise OptionError(f"layer {layer!r} takes no part in the forward pass: choose one that does")

    return run


@contextmanager
def watching_maps(module: nn.Module, seen: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``seen(name, output)`` for every submodule that gives a tensor that may be a map.

    Inside TorchScript nothing can be watched.
    """

    def hook(name: str) -> Callable[..., None]:
        def look(_module: nn.Module, _args: object, output: object) -> None:
            if isinstance(output, Tensor) and output.dim() in (3, 4):
                seen(name, output)

        return look

    handles = [
        child.register_forward_hook(hook(name))
        for name, child in module.named_modules()
        if name and not isinstance(child, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def is_pooled(output: object) -> bool:
    """Whether a module's output is class scores rather than a map, so that its last map is probed instead."""
    return isinstance(output, Tensor) and output.dim() == 2


def as_features(output: object, what: str, form: Form | None = None) -> Tensor:
    """``output`` as (N, C, H, W); class scores are a map of one pixel. Raises TargetError or ShapeError."""
    if not isinstance(output, Tensor):
        raise TargetError(
            f"{what} is a {type(output).__name__}, not a tensor: name a layer that gives one feature map (--layer)"
        )
    if form is not None:
        return form.arranged(output)
    if output.dim() == 2:
        return output[:, :, None, None]
    if output.dim() != 4:
        raise ShapeError(
            f"{what} has shape {tuple(output.shape)}, not (N, C, H, W): name another layer (--layer), or "
            f"say how it is laid out (--layout {', '.join(LAYOUTS)}, --grid H,W for tokens)"
        )
    return output
