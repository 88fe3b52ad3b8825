"""Putting a block into a module tree so that whoever knew the layer that was there still finds what they look for.

This file imports torch alone: what is saved as code carries it along.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

OF_EVERY_CONV = frozenset(vars(nn.Conv2d(1, 1, 1))) - {"in_channels", "out_channels", "stride"}
"""Of a conv, but for what holds for a block in its place as well; its kernel and groups do not."""


def take_place(host: nn.Module, layer: nn.Module, block: nn.Module) -> nn.Module:
    """The host with ``block`` wherever it holds ``layer``.

    The block gets what others have attached to the layer: attributes that they read (``f``, ``i`` and ``type`` in
    YOLO's), and hooks on its output.
    """
    for name, value in vars(layer).items():
        is_own = name in vars(block) or (hasattr(block, name) and not hasattr(nn.Module, name))
        if name not in OF_EVERY_CONV and not is_own:
            vars(block)[name] = value
    block._forward_hooks.update(layer._forward_hooks)
    if callable(getattr(type(host), "fuse", None)) and type(block) is not nn.Conv2d:
        known = vars(host).get("fuse")
        blocks = known.args[1] if isinstance(known, partial) else []
        vars(host)["fuse"] = partial(_fuse_the_rest, host, [*blocks, block])
    return swap(host, layer, block)


def _fuse_the_rest(host: Any, blocks: list[nn.Module], *args: Any, **kwargs: Any) -> Any:
    """The host's own ``fuse``, which folds norms into convs (YOLO's before it predicts), but for those after blocks."""
    kept = []
    for parent in list(host.modules()):
        if any(child is block for child in parent.children() for block in blocks):
            names = [name for name, child in parent.named_children() if isinstance(child, nn.BatchNorm2d)]
            kept += [(parent, name, parent._modules.pop(name)) for name in names]
    try:
        return type(host).fuse(host, *args, **kwargs)
    finally:
        for parent, name, norm in kept:
            parent._modules[name] = norm


def swap(host: nn.Module, layer: nn.Module, other: nn.Module) -> nn.Module:
    """The host with ``other`` wherever it holds ``layer``: a shared layer has several names."""
    for module in list(host.modules()):
        for name, child in list(module._modules.items()):
            if child is layer:
                setattr(module, name, other)
    return other if host is layer else host


def come_after(layer: nn.Module, block: nn.Module, name: str) -> None:
    """Run ``block`` on whatever ``layer`` gives.

    The layer stays the same object with the same keys, and holds the block under ``name``: a plain sequence of modules
    runs it as its last member, any other layer by a hook.
    """
    layer.add_module(name, block)
    if type(layer).forward is not nn.Sequential.forward:
        layer.register_forward_hook(partial(_then, name=name))


def _then(layer: nn.Module, _: Any, output: Any, name: str) -> Any:
    return getattr(layer, name)(output)
