"""Plugging a block into a module, from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import ShapeError
from convbench.execution.clone import clone
from convbench.execution.dtypes import own_dtype
from convbench.execution.tensors import registered_tensors
from convbench.inputs import Shape
from convbench.plugging.block import load_block
from convbench.plugging.change import summary
from convbench.plugging.insert import insert_after
from convbench.plugging.replace import replace_convs
from convbench.plugging.trace import params_of
from convbench.target.blueprint import build

_SIZE = 224
_log = logging.getLogger("convbench")


def plug(
    block: str | Callable[..., nn.Module],
    *,
    into: nn.Module | str,
    where: str = "3x3",
    after: Sequence[str] = (),
    shape: Shape | None = None,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """A copy of a host with ``block`` in the place of its convolutions, ready to train.

    block: a reference as on the command line, or a class or factory; ``options`` are its. into: a module, or a
    reference. where: the convs that it replaces: ``3x3`` (but not depthwise), ``depthwise``, ``all``, or a regular
    expression for their names. after: stages after which it goes instead.
    shape: of the host's input, N,C,H,W; (1, channels of its first conv, 224, 224) unless it, or ``inputs``
        and ``kwargs``, the arguments of its call, say otherwise. They only tell what reaches each layer.

    ``into`` itself is left as it was. In the copy every weight but the block's is bit for bit the host's, modes and
    statistics are the host's, and the block's weights are drawn from torch's random state. What was changed, and what
    was not and why, is logged by ``convbench`` at level INFO; `convbench.plugging.replace_convs` gives it as data.
    Raises UsageError where nothing can be replaced, TargetError where the host does not run.
    """
    host = build(into) if isinstance(into, str) else clone(into)
    given = (_input(host, shape),) if inputs is None else tuple(inputs)
    call = (given, dict(kwargs or {}))
    found = load_block(block, options)
    plugged = insert_after(host, call, found, after) if after else replace_convs(host, call, found, where)
    for line in summary(found.name, plugged.changes, params_of(plugged.module), keeps_shape=plugged.keeps_shape):
        _log.info(line)
    return plugged.module


def _input(host: nn.Module, shape: Shape | None) -> Tensor:
    if shape is None:
        first = next((module for module in host.modules() if isinstance(module, nn.Conv2d)), None)
        if first is None:
            raise ShapeError(f"{type(host).__name__} has no Conv2d that tells its input: give shape=(N, C, H, W)")
        shape = (1, first.in_channels, _SIZE, _SIZE)
    device = next((tensor.device for tensor in registered_tensors(host)), torch.device("cpu"))
    return torch.zeros(shape, dtype=own_dtype(host), device=device)
