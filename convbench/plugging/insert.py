"""Inserting a shape-preserving block after stages of a host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from convbench.errors import TargetError, UnknownNameError, UsageError, nearest
from convbench.plugging.attach import come_after
from convbench.plugging.block import Block, Unfit, output_shapes, require_shapes
from convbench.plugging.change import LayerChange, Plugged, Shape
from convbench.plugging.trace import Calls, failure_of, macs_of, params_of, record_calls
from convbench.target.arguments import Arguments

_CHILD = "plugged"


def insert_after(host: nn.Module, call: Arguments, block: Block, stages: Sequence[str]) -> Plugged:
    """Run ``block`` on what each stage gives; ``host`` itself is changed.

    call: the arguments of one. stages: names of submodules that give feature maps N,C,H,W. A stage stays the same
    object with the same keys, and holds the block as ``plugged``.
    Raises UsageError for a stage that is unknown, not called or no feature map, and for a block that changes the
    shape; TargetError where the host does not run.
    """
    modules = {name: _stage(host, name) for name in dict.fromkeys(stages)}
    calls = record_calls(host, call, modules)
    changes, added = [], []
    for name, stage in modules.items():
        child = _free_name(stage)
        changes.append(_insert(name, stage, calls[name], block, child))
        added.append((f"{name}.{child}", 0 if calls[name].in_training_alone else len(calls[name].inputs)))
    error = failure_of(host, call, added)
    if error is not None:
        raise TargetError(
            f"the host does not run with {block.name} in it ({type(error).__name__}: {error}): it uses more of its "
            "stages than their outputs; choose others, or replace convs by --where"
        ) from error
    return Plugged(host, tuple(changes), block.keeps_shape)


def _stage(host: nn.Module, name: str) -> nn.Module:
    names = [known for known, _ in host.named_modules() if known]
    if name not in names:
        raise UnknownNameError(
            f"the host has no stage {name!r}.{nearest(name, names)} At its top are: "
            f"{', '.join(child for child, _ in host.named_children()) or 'none'}"
        )
    return host.get_submodule(name)


def _free_name(stage: nn.Module) -> str:
    """A stage may hold a block already."""
    names = (_CHILD, *(f"{_CHILD}_{number}" for number in range(2, len(stage._modules) + 3)))
    return next(name for name in names if not hasattr(stage, name))


def _insert(name: str, stage: nn.Module, calls: Calls, block: Block, child: str) -> LayerChange:
    maps = _feature_maps(name, stage, calls)
    channels = maps[0][1]
    like = next(stage.parameters(), torch.empty(0))
    try:
        arguments = block.of_width(channels)
        sketch = block.sketch(arguments)
        require_shapes(block.name, output_shapes(sketch, maps), maps)
        fresh = sketch if like.is_meta else block.build(arguments)
    except Unfit as error:
        raise UsageError(f"{block.name} cannot go in after {name}: {error}") from error
    change = LayerChange(
        name,
        f"{type(stage).__name__}, {channels} channels out",
        becomes=f"the same, then {block.name}",
        remark="called in training alone" if calls.in_training_alone else "",
        how="after",
        arguments=arguments,
        width=channels,
        shapes=tuple(maps),
        params_before=0,
        params_after=params_of(fresh),
        macs_before=0,
        macs_after=macs_of(sketch, maps),
    )
    come_after(stage, fresh.to(like.device, like.dtype).train(stage.training), child)
    return change


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
