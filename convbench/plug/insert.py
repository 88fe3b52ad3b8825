"""Inserting a shape-preserving block after stages of a host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from convbench.errors import UnknownNameError, UsageError, nearest
from convbench.plug.block import Block, Unfit, output_shapes, require_shapes
from convbench.plug.change import LayerChange, Plugged, Shape
from convbench.plug.trace import Calls, macs_of, params_of, record_calls, require_runs
from convbench.target.arguments import Arguments

_CHILD = "plugged"


def insert_after(host: nn.Module, call: Arguments, block: Block, stages: Sequence[str]) -> Plugged:
    """Run ``block`` on what each stage gives; ``host`` itself is changed.

    call: the arguments of one. stages: names of submodules that give feature maps N,C,H,W. A plain Sequential gets
    the block as its last member, ``plugged``, and keeps its keys; any other stage is wrapped.
    Raises UsageError for a stage that is unknown, not called or no feature map, and for a block that changes the
    shape; TargetError where the host does not run.
    """
    modules = {name: _stage(host, name) for name in dict.fromkeys(stages)}
    calls = record_calls(host, call, modules.values())
    changes = [_insert(host, name, stage, calls[stage], block) for name, stage in modules.items()]
    require_runs(host, call, block.name)
    return Plugged(host, tuple(changes))


def _stage(host: nn.Module, name: str) -> nn.Module:
    names = [known for known, _ in host.named_modules() if known]
    if name not in names:
        raise UnknownNameError(
            f"the host has no stage {name!r}.{nearest(name, names)} At its top are: "
            f"{', '.join(child for child, _ in host.named_children()) or 'none'}"
        )
    return host.get_submodule(name)


def _insert(host: nn.Module, name: str, stage: nn.Module, calls: Calls, block: Block) -> LayerChange:
    maps = _feature_maps(name, stage, calls)
    channels = maps[0][1]
    try:
        with torch.device("meta"):
            sketch = block.of_width(channels).eval()
        require_shapes(block.name, output_shapes(sketch, maps), maps)
        fresh = block.of_width(channels)
    except Unfit as error:
        raise UsageError(f"{block.name} cannot go in after {name}: {error}") from error
    like = next(stage.parameters(), torch.empty(0))
    fresh = fresh.to(like.device, like.dtype).train(stage.training)
    _append(host, name, stage, fresh)
    return LayerChange(
        name,
        f"{type(stage).__name__}, {channels} channels out",
        becomes=f"the same, then {block.name}",
        shapes=tuple(maps),
        params_before=0,
        params_after=params_of(fresh),
        macs_before=0,
        macs_after=macs_of(fresh, maps),
    )


def _feature_maps(name: str, stage: nn.Module, calls: Calls) -> Sequence[Shape]:
    if isinstance(stage, nn.ModuleList | nn.ModuleDict):
        inside = ", ".join(f"{name}.{child}" for child, _ in stage.named_children())
        raise UsageError(f"{name} is a list of stages; name one of them: {inside}")
    if not calls.outputs:
        raise UsageError(f"the host's forward pass does not call {name}, so nothing can go in after it")
    maps = [shape for shape in calls.outputs if shape is not None and len(shape) == 4]
    if len(maps) < len(calls.outputs) or len({shape[1] for shape in maps}) != 1:
        shown = ", ".join("no tensor" if shape is None else "×".join(map(str, shape)) for shape in calls.outputs)
        raise UsageError(f"{name} gives {shown}: a block goes in after a feature map N×C×H×W")
    return maps


def _append(host: nn.Module, name: str, stage: nn.Module, block: nn.Module) -> None:
    if type(stage) is nn.Sequential:
        stage.add_module(_CHILD, block)
        return
    parent, _, leaf = name.rpartition(".")
    setattr(host.get_submodule(parent), leaf, nn.Sequential(stage, block))
