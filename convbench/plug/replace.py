"""Replacing convolutions of a host by a block."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from convbench.errors import UsageError
from convbench.plug.block import Block, Conv, Unfit, output_shapes, require_shapes
from convbench.plug.change import LayerChange, Plugged
from convbench.plug.trace import Calls, macs_of, params_of, record_calls, require_runs
from convbench.target.arguments import Arguments

Choice = Callable[[str, nn.Conv2d], bool]

_CHOICES: dict[str, Choice] = {
    "3x3": lambda _, conv: conv.kernel_size == (3, 3) and not _is_depthwise(conv),
    "depthwise": lambda _, conv: _is_depthwise(conv),
    "all": lambda _, __: True,
}


def replace_convs(host: nn.Module, call: Arguments, block: Block, where: str = "3x3") -> Plugged:
    """Put ``block`` in the place of the host's matching convolutions; ``host`` itself is changed.

    call: the arguments of one, which tells the shapes at every layer. where: ``3x3`` (but not depthwise),
    ``depthwise``, ``all``, or a regular expression searched for in the layers' names. Each replacement has the conv's
    widths and stride, its device, dtype and mode, and fresh weights.
    Raises UsageError where nothing matches or nothing could be replaced, and TargetError where the host does not run.
    """
    matching = _matching(host, where)
    calls = record_calls(host, call, [conv for _, conv in matching])
    changes = []
    for name, conv in matching:
        host, change = _replace(host, name, conv, calls[conv], block)
        changes.append(change)
    if not any(change.changed for change in changes):
        shown = "; ".join(f"{change.layer}: {change.reason}" for change in changes[:3])
        more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(f"{block.name} replaces none of the {len(changes)} convs that match {where!r}. {shown}{more}")
    require_runs(host, call, block.name)
    return Plugged(host, tuple(changes))


def _matching(host: nn.Module, where: str) -> list[tuple[str, nn.Conv2d]]:
    convs = [(name, module) for name, module in host.named_modules() if isinstance(module, nn.Conv2d)]
    if not convs:
        raise UsageError(f"{type(host).__name__} has no Conv2d to replace; --after STAGE inserts a block")
    choice = _CHOICES.get(where) or _by_name(where)
    found = [(name, conv) for name, conv in convs if choice(name, conv)]
    if not found:
        shown = ", ".join(name for name, _ in convs[:5]) + (", …" if len(convs) > 5 else "")
        raise UsageError(
            f"none of the host's {len(convs)} convs matches --where {where!r}: write {', '.join(_CHOICES)}, "
            f"or a regular expression for names such as {shown}"
        )
    return found


def _by_name(pattern: str) -> Choice:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--where {pattern!r} is neither {', '.join(_CHOICES)} nor a regular expression: {error}"
        ) from error
    return lambda name, _: compiled.search(name) is not None


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels == conv.out_channels > 1


def _replace(host: nn.Module, name: str, conv: nn.Conv2d, calls: Calls, block: Block) -> tuple[nn.Module, LayerChange]:
    """The host with one conv replaced, or as it was, and what became of the conv."""
    change = LayerChange(name or "(the host itself)", _in_words(conv), shapes=calls.inputs)
    change = replace(change, params_before=params_of(conv), macs_before=macs_of(conv, calls.inputs))
    try:
        described = _describe(conv)
        if not calls.inputs:
            raise Unfit("the host's forward pass does not call it")
        with torch.device("meta"):
            sketch = block.in_place_of(described).eval()
        require_shapes(block.name, output_shapes(sketch, calls.inputs), calls.outputs)
        fresh = block.in_place_of(described)
    except Unfit as reason:
        return host, replace(change, reason=str(reason))
    fresh = fresh.to(conv.weight.device, conv.weight.dtype).train(conv.training)
    return _put(host, conv, fresh), replace(
        change,
        becomes=block.name,
        remark=block.remark(described),
        params_after=params_of(fresh),
        macs_after=macs_of(fresh, calls.inputs),
    )


def _describe(conv: nn.Conv2d) -> Conv:
    """The conv in plain numbers. Raises Unfit where a block has no such thing."""
    if type(conv) is not nn.Conv2d:
        raise Unfit(f"it is a {type(conv).__name__}, which does more than convolve")
    if conv.padding_mode != "zeros":
        raise Unfit(f"it pads with {conv.padding_mode!r}, and blocks pad with zeros")
    for what, value in (("kernel", conv.kernel_size), ("stride", conv.stride), ("dilation", conv.dilation)):
        if value[0] != value[1]:
            raise Unfit(f"its {what} {value[0]}×{value[1]} is not square")
    kernel_size, dilation = conv.kernel_size[0], conv.dilation[0]
    return Conv(
        conv.in_channels,
        conv.out_channels,
        kernel_size,
        conv.stride[0],
        _padding(conv.padding, kernel_size, dilation),
        dilation,
        conv.groups,
        conv.bias is not None,
    )


def _padding(padding: str | tuple[int, ...], kernel_size: int, dilation: int) -> int | None:
    if isinstance(padding, str):
        return dilation * (kernel_size - 1) // 2 if padding == "same" else 0
    return padding[0] if padding[0] == padding[1] else None


def _in_words(conv: nn.Conv2d) -> str:
    try:
        return str(_describe(conv))
    except Unfit:
        kernel = "×".join(map(str, conv.kernel_size))
        return f"{type(conv).__name__} {conv.in_channels}→{conv.out_channels}, k{kernel}"


def _put(host: nn.Module, conv: nn.Conv2d, fresh: nn.Module) -> nn.Module:
    """Put ``fresh`` wherever the host holds ``conv``: a shared layer has several names."""
    for name, module in list(host.named_modules(remove_duplicate=False)):
        if module is conv:
            if not name:
                return fresh
            parent, _, leaf = name.rpartition(".")
            setattr(host.get_submodule(parent), leaf, fresh)
    return host
