"""How a block takes a convolution's place: read from its signature, as everything about blocks is.

A block whose factory takes an output width (``out_channels``) replaces a conv of any widths, one that takes a
``stride`` a conv of any stride. ``kernel_size``, ``padding``, ``dilation``, ``groups`` and ``bias`` are handed on where
the factory has a plain parameter of that name. Any other block keeps the shape: it replaces convs that do so too, and
goes in after a stage.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convbench.case import Case
from convbench.errors import OptionError, TargetError, UsageError
from convbench.plugging.change import Shape
from convbench.registry import resolve
from convbench.target.construct import constructed
from convbench.target.options import INPUT_WIDTHS, OUTPUT_WIDTHS, first_of
from convbench.target.references import bind_options, kind_of, load_factory

_NO_WIDTH = f"{{}} takes no width: none of its options is {', '.join(INPUT_WIDTHS)}"
_HANDED_ON = ("kernel_size", "padding", "dilation", "groups", "bias")


class Unfit(Exception):  # noqa: N818
    """The block cannot take this place; the message says why."""


@dataclass(frozen=True, slots=True)
class Conv:
    """What a convolution is, in plain numbers; ``padding`` is None where it differs between the axes."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int | None
    dilation: int
    groups: int
    bias: bool

    def __str__(self) -> str:
        parts = [f"conv {self.in_channels}→{self.out_channels}, k{self.kernel_size}"]
        parts += [f"s{self.stride}"] if self.stride != 1 else []
        parts += [f"d{self.dilation}"] if self.dilation != 1 else []
        if self.groups > 1:
            parts.append("depthwise" if self.groups == self.in_channels == self.out_channels else f"g{self.groups}")
        return ", ".join([*parts, "bias"] if self.bias else parts)


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is to be plugged in: its factory, and the options that the user gave it."""

    name: str
    reference: str
    factory: Callable[..., Any]
    options: Mapping[str, Any]

    @property
    def keeps_shape(self) -> bool:
        """Whether it has neither an output width nor a stride."""
        parameters = inspect.signature(self.factory).parameters
        return first_of(OUTPUT_WIDTHS, parameters) is None and "stride" not in parameters

    def in_place_of(self, conv: Conv) -> dict[str, Any]:
        """The arguments that give it the conv's widths and stride. Raises Unfit."""
        parameters = inspect.signature(self.factory).parameters
        given = dict(self.options)
        width_in, width_out = self._widths(parameters)
        arguments: dict[str, Any] = {width_in: conv.in_channels}
        if width_out is not None:
            arguments[width_out] = conv.out_channels
        elif conv.in_channels != conv.out_channels:
            raise Unfit(f"{self.name} keeps its width, and this goes from {conv.in_channels} to {conv.out_channels}")
        if "stride" in parameters and "stride" not in given:
            arguments["stride"] = conv.stride
        elif conv.stride != 1 and "stride" not in given:
            raise Unfit(f"{self.name} keeps the size, and this has stride {conv.stride}")
        arguments |= {name: getattr(conv, name) for name in self._handed_on(parameters, conv)}
        return {**arguments, **given}

    def of_width(self, channels: int) -> dict[str, Any]:
        """The arguments that make it one of ``channels`` in and out, with its defaults for the rest. Raises Unfit."""
        widths = self._widths(inspect.signature(self.factory).parameters)
        return {**{name: channels for name in widths if name is not None}, **self.options}

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """A block with fresh weights. Raises Unfit where its constructor refuses."""
        try:
            module = self.factory(**arguments)
        except Exception as error:  # a constructor may refuse in any way
            raise Unfit(_first_line(error)) from error
        if not isinstance(module, nn.Module):
            raise Unfit(f"{self.name} gave a {type(module).__name__}, not a torch.nn.Module")
        return module

    def sketch(self, arguments: Mapping[str, Any]) -> nn.Module:
        """The same without data, in evaluation mode. Raises Unfit."""
        try:
            return constructed(self.name, lambda: self.factory(**arguments), 0, on_meta=True).eval()
        except (OptionError, TargetError) as error:
            raise Unfit(_first_line(error)) from error

    def _widths(self, parameters: Mapping[str, inspect.Parameter]) -> tuple[str, str | None]:
        width_in = first_of(INPUT_WIDTHS, parameters)
        if width_in is None:
            raise Unfit(_NO_WIDTH.format(self.name))
        return width_in, first_of(OUTPUT_WIDTHS, parameters)

    def remark(self, conv: Conv) -> str:
        """What of ``conv`` the block has no say in, in words."""
        parameters = inspect.signature(self.factory).parameters
        handed = {*self._handed_on(parameters, conv), *self.options}
        lost = [
            text
            for name, text, matters in (
                ("bias", "without its bias", conv.bias),
                ("groups", f"{conv.groups} groups up to the block", conv.groups > 1),
                ("dilation", f"without its dilation of {conv.dilation}", conv.dilation != 1),
            )
            if matters and name not in handed
        ]
        return ", ".join(lost)

    def _handed_on(self, parameters: Mapping[str, inspect.Parameter], conv: Conv) -> list[str]:
        return [
            name
            for name in _HANDED_ON
            if name in parameters
            and name not in self.options
            and _is_plain(parameters[name])
            and getattr(conv, name) is not None
        ]


def load_block(reference: str | Callable[..., Any], options: Mapping[str, Any]) -> Block:
    """The block that ``reference`` names, or that a class or factory makes, with its options checked.

    Raises UsageError.
    """
    if not isinstance(reference, str):
        name = getattr(reference, "__name__", type(reference).__name__)
        _check(name, reference, name, options)
        return Block(name, "", reference, dict(options))
    resolved = resolve(reference)
    hosted = resolved.scheme in ("timm", "torchvision")
    factory = None if hosted else load_factory(resolved)
    if factory is None or kind_of(resolved, factory) == "network":
        raise UsageError(f"{resolved.name} is a network: plug takes a block (`convbench list --kind block`)")
    _check(resolved.name, factory, reference, options)
    return Block(resolved.name, reference, factory, dict(options))


def _check(name: str, factory: Callable[..., Any], target: str, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    empty = inspect.Parameter.empty
    by_the_conv = {name: 1 for name in _HANDED_ON if name in parameters and parameters[name].default is empty}
    bind_options(name, factory, "block", Case(target, options=tuple({**by_the_conv, **options}.items())))


def output_shapes(module: nn.Module, shapes: Sequence[Shape]) -> list[Shape]:
    """What ``module`` gives for inputs of ``shapes``, computed without data. Raises Unfit where it gives nothing."""
    found = []
    for shape in shapes:
        try:
            with torch.no_grad():
                output = module(torch.empty(shape, device="meta"))
        except Exception as error:  # the block's own code runs here
            raise Unfit(f"it does not take {_by(shape)}: {_first_line(error)}") from error
        if not isinstance(output, torch.Tensor):
            raise Unfit(f"it gives a {type(output).__name__}, not a tensor")
        found.append(tuple(output.shape))
    return found


def require_shapes(name: str, found: Sequence[Shape], expected: Sequence[Shape | None]) -> None:
    """Raise Unfit unless the block gives what the host expects."""
    for own, wanted in zip(found, expected, strict=True):
        if own != wanted:
            raise Unfit(f"{name} gives {_by(own)} where the host has {_by(wanted or ())}")


def _is_plain(parameter: inspect.Parameter) -> bool:
    """Whether it takes one number or flag: a list, or None for the block's own choice, is something else."""
    return parameter.default is inspect.Parameter.empty or isinstance(parameter.default, int)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape))
