"""The arguments of one call: what a target says of its own, and tensors drawn as they are described."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from convbench.case import Case
from convbench.errors import ShapeError, TargetError
from convbench.execution.device import torch_dtype
from convbench.execution.guard import seeded
from convbench.inputs import FORMATS, Drawn, Plain, format_inputs, specified

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments by position and by name; tensors, and what describes them, at any depth."""

EXAMPLES = "example_inputs"
"""The function or attribute by which a target, or the file that it is in, says its inputs."""
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: Tensor) -> Tensor:
    """``tensor`` with its channels innermost, where it is a batch of images or of volumes."""
    layout = _CHANNELS_LAST.get(tensor.dim())
    return tensor if layout is None else tensor.contiguous(memory_format=layout)


def realised(arguments: Arguments, case: Case, device: str, dtype: torch.dtype) -> Arguments:
    """The arguments on ``device``, with what is described drawn with the seed of ``case``, in ``dtype`` unless it says.

    On meta tensors have no values; given ones are moved.
    """
    generator = torch.Generator().manual_seed(case.seed)

    def real(leaf: Any) -> Any:
        if isinstance(leaf, Plain):
            return leaf.value
        if not isinstance(leaf, Drawn):
            return leaf.to(device) if isinstance(leaf, Tensor) else leaf
        tensor = draw(leaf, generator, device, dtype)
        return channels_last(tensor) if case.memory_format == "channels_last" else tensor

    args, kwargs = tree_map(real, arguments)
    return tuple(args), kwargs


def draw(one: Drawn, generator: torch.Generator, device: str, dtype: torch.dtype) -> Tensor:
    """A tensor as it is described."""
    kind = dtype if one.dtype is None else getattr(torch, one.dtype)
    if device == "meta":
        return torch.empty(one.shape, dtype=kind, device="meta")
    if kind is torch.bool:
        values = torch.randint(2, one.shape, generator=generator)
    elif one.low is None or one.high is None:
        values = torch.randn(one.shape, generator=generator, dtype=torch.complex64 if kind.is_complex else None)
    elif isinstance(one.low, int):
        most = one.high if one.high - one.low < 2**63 - 1 else one.high - 1  # randint counts what is between
        values = torch.randint(int(one.low), int(min(most + 1, 2**63 - 1)), one.shape, generator=generator)
    else:
        values = one.low + (one.high - one.low) * torch.rand(one.shape, generator=generator)
    return values.to(device=device, dtype=kind)


def described(arguments: Arguments) -> Arguments:
    """The arguments with a description in place of each tensor: its shape, its dtype, and of whole numbers the range.

    A tensor of the usual kind, float32, is described by its shape alone. Raises ShapeError for what is neither a tensor
    nor a plain value.
    """

    def describe(leaf: Any) -> Any:
        if isinstance(leaf, Drawn | Plain):
            return leaf
        if isinstance(leaf, Tensor):
            return _description(leaf)
        if leaf is None or isinstance(leaf, str | bool | int | float):
            return Plain(leaf)
        raise ShapeError(f"an argument that is a {type(leaf).__name__} cannot be written down")

    args, kwargs = tree_map(describe, arguments, is_leaf=lambda leaf: leaf is None)
    return tuple(args), kwargs


def _description(tensor: Tensor) -> Drawn:
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in FORMATS:
        raise ShapeError(f"an argument of dtype {name} cannot be written down")
    shape = tuple(tensor.shape)
    if tensor.dtype is torch.bool or tensor.is_floating_point() or tensor.is_complex():
        return Drawn(shape, None if tensor.dtype is torch.float32 else name)
    low, high = (0, 0) if tensor.is_meta or not tensor.numel() else (int(tensor.min()), int(tensor.max()))
    return Drawn(shape, name, low, high)


def written(arguments: Arguments) -> str:
    """The arguments as text: shapes, and whatever a shape does not say; shapes alone of what cannot be written down."""
    try:
        args, kwargs = described(arguments)
        return format_inputs(args, kwargs)
    except ShapeError:
        return format_inputs(map(Drawn, shapes_in(arguments)), {})


def shapes_in(arguments: object) -> tuple[tuple[int, ...], ...]:
    """Shape of each tensor in nested arguments."""
    return tuple(tuple(leaf.shape) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor | Drawn))


def example_source(places: Sequence[Any]) -> Any:
    """What the first of ``places``, such as a class and the file that it is in, says of its inputs; None: nothing."""
    return next((found for place in places if (found := getattr(place, EXAMPLES, None)) is not None), None)


def examples(
    name: str, source: Any, case: Case, module: Callable[[], nn.Module], options: Mapping[str, Any]
) -> Arguments:
    """The inputs that a target says itself, floating ones in the dtype that the case asks for.

    source: one tensor, a sequence of arguments by position, a dict of arguments by name, a pair of both, or a function
        that gives one of these; texts describe tensors. The function gets whichever of ``batch``, ``size``, ``dim``,
        ``dtype``, ``seed`` and the target's options it takes, and a method the module itself.
    Raises ShapeError and TargetError.
    """
    if callable(source):
        source = _called(name, source, case, module, options)
    elif case.size is not None or case.batch != 1:
        raise ShapeError(f"{name} says its inputs itself, without a batch or a size: give --shape or --input")
    if isinstance(source, str | Tensor):
        source = [source], {}
    elif isinstance(source, Mapping):
        source = [], source
    elif not isinstance(source, Sequence):
        raise TargetError(
            f"{name}: its {EXAMPLES} are a {type(source).__name__}: give tensors, a list or a dict of them"
        )
    elif len(source) != 2 or not isinstance(source[0], list | tuple) or not isinstance(source[1], Mapping):
        source = source, {}
    return _as_asked(specified(*source), case)


def _as_asked(arguments: Arguments, case: Case) -> Arguments:
    """The arguments with tensors in the dtype and the memory format of ``case``."""
    dtype = None if case.dtype is None else torch_dtype(case.dtype)

    def asked(tensor: Tensor) -> Tensor:
        tensor = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        return channels_last(tensor) if case.memory_format == "channels_last" else tensor

    args, kwargs = tree_map(lambda leaf: asked(leaf) if isinstance(leaf, Tensor) else leaf, arguments)
    return tuple(args), kwargs


def _called(
    name: str, source: Callable[..., Any], case: Case, module: Callable[[], nn.Module], options: Mapping[str, Any]
) -> Any:
    known = {"batch": case.batch, "size": case.size, "dim": case.dim, "dtype": case.dtype, "seed": case.seed, **options}
    try:
        taken = list(inspect.signature(source).parameters)
    except (TypeError, ValueError):
        taken = []
    for condition, asked in (("size", case.size is not None), ("batch", case.batch != 1)):
        if asked and condition not in taken:
            raise ShapeError(
                f"{name} says its inputs itself, by a function that takes no {condition}: give --shape or --input"
            )
    given = {key: known[key] for key in taken if known.get(key) is not None}
    first = [module()] if next(iter(taken), "") in ("self", "module", "model") else []
    try:
        with seeded(case.seed):
            return source(*first, **given)
    except Exception as error:  # the user's own code runs here
        raise TargetError(f"{name}: its {EXAMPLES} fail: {type(error).__name__}: {error}") from error
