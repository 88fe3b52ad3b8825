"""Replacing convolutions of a host by a block."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from convbench.errors import UsageError
from convbench.plugging.attach import swap, take_place
from convbench.plugging.block import Block, Conv, Unfit, output_shapes, require_shapes
from convbench.plugging.change import LayerChange, Plugged
from convbench.plugging.trace import Calls, failure_of, macs_of, params_of, record_calls
from convbench.target.arguments import Arguments

Choice = Callable[[str, nn.Conv2d], bool]

_CHOICES: dict[str, Choice] = {
    "3x3": lambda _, conv: conv.kernel_size == (3, 3) and not _is_depthwise(conv),
    "depthwise": lambda _, conv: _is_depthwise(conv),
    "all": lambda _, __: True,
}


@dataclass(frozen=True, slots=True)
class _Swap:
    """A conv, what is to take its place, how often it is called in evaluation, and the change that this is."""

    conv: nn.Conv2d
    block: nn.Module
    calls: int
    change: LayerChange


def replace_convs(host: nn.Module, call: Arguments, block: Block, where: str = "3x3") -> Plugged:
    """Put ``block`` in the place of the host's matching convolutions; ``host`` itself is changed, in these alone.

    call: the arguments of one, which tells the shapes at every layer. where: ``3x3`` (but not depthwise),
    ``depthwise``, ``all``, or a regular expression searched for in the layers' names. Each replacement has the conv's
    widths and stride, its device, dtype and mode, what others attached to it, and fresh weights.
    Raises UsageError where nothing matches or nothing could be replaced, and TargetError where the host does not run.
    """
    matching = _matching(host, where)
    calls = record_calls(host, call, [name for name, _ in matching])
    spares_frozen = where in _CHOICES and any(parameter.requires_grad for parameter in host.parameters())
    planned = [_plan(name, conv, calls[name], block, spares_frozen) for name, conv in matching]
    swaps = [item for item in planned if isinstance(item, _Swap)]
    host, refused = _swap_what_runs(host, call, swaps)
    changes = [refused.get(id(item), item.change) if isinstance(item, _Swap) else item for item in planned]
    if not any(change.changed for change in changes):
        shown = "; ".join(f"{change.layer}: {change.reason}" for change in changes[:3])
        more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(f"{block.name} replaces none of the {len(changes)} convs that match {where!r}. {shown}{more}")
    return Plugged(host, tuple(changes), block.keeps_shape)


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


def _plan(name: str, conv: nn.Conv2d, calls: Calls, block: Block, spares_frozen: bool) -> _Swap | LayerChange:
    """What is to become of one conv, or why nothing."""
    change = LayerChange(
        name or "(the host itself)",
        _in_words(conv),
        depthwise=_is_depthwise(conv),
        width=conv.in_channels,
        shapes=tuple(calls.inputs),
        params_before=params_of(conv),
        macs_before=macs_of(conv, calls.inputs),
    )
    try:
        described = _describe(conv)
        if not calls.inputs:
            raise Unfit("the host's forward pass does not call it")
        if spares_frozen and not conv.weight.requires_grad:
            raise Unfit("its weights are fixed, and others are trained; name it by a regular expression to replace it")
        arguments = block.in_place_of(described)
        sketch = block.sketch(arguments)
        require_shapes(block.name, output_shapes(sketch, calls.inputs), calls.outputs)
        fresh = sketch if conv.weight.is_meta else block.build(arguments)
    except Unfit as reason:
        return replace(change, reason=str(reason))
    remarks = [block.remark(described), "called in training alone" if calls.in_training_alone else ""]
    change = replace(
        change,
        becomes=block.name,
        remark=", ".join(filter(None, remarks)),
        arguments=arguments,
        params_after=params_of(fresh),
        macs_after=macs_of(sketch, calls.inputs),
    )
    fresh = fresh.to(conv.weight.device, conv.weight.dtype).train(conv.training)
    return _Swap(conv, fresh, 0 if calls.in_training_alone else len(calls.inputs), change)


def _swap_what_runs(
    host: nn.Module, call: Arguments, swaps: Sequence[_Swap]
) -> tuple[nn.Module, dict[int, LayerChange]]:
    """The host with every swap after which it still runs, and of each other one its change with the reason."""
    for item in swaps:
        host = take_place(host, item.conv, item.block)
    error = failure_of(host, call, [(_name_of(host, item.block), item.calls) for item in swaps])
    if error is None:
        return host, {}
    for item in swaps:
        host = swap(host, item.block, item.conv)
    if len(swaps) == 1:
        (item,) = swaps
        reason = f"the host uses more of it than its output, and does not run ({type(error).__name__}: {error})"
        return host, {id(item): replace(item.change, becomes="", arguments={}, remark="", reason=reason)}
    half = len(swaps) // 2
    host, refused = _swap_what_runs(host, call, swaps[:half])
    host, more = _swap_what_runs(host, call, swaps[half:])
    return host, refused | more


def _name_of(host: nn.Module, module: nn.Module) -> str:
    return next(str(name) for name, part in host.named_modules() if part is module)


def _describe(conv: nn.Conv2d) -> Conv:
    """The conv in plain numbers. Raises Unfit where a block has no such thing."""
    if type(conv) is not nn.Conv2d or "forward" in vars(conv):
        raise Unfit(f"it is a {type(conv).__name__}, which does more than convolve")
    if conv._forward_pre_hooks:
        raise Unfit("a hook computes its weight or its input")
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
