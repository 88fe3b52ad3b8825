"""Where tensors hold zeros that padding put there: followed from operator to operator, as slices along each axis.

A tensor's zeros are one set of bits an axis: bit i of an axis says that all elements with index i there are zero. Views
need no rule: what they show of a storage follows from their offset, sizes and strides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convbench.measures.cost.amount import Zeros
from convbench.measures.cost.pricing import Operator
from convbench.measures.cost.provenance import storage_of


def every(size: int) -> int:
    """The bits of an axis that is zero throughout."""
    return (1 << size) - 1


def is_all_zero(zeros: Zeros, sizes: Sequence[int]) -> bool:
    """Whether there is an axis along which every slice is zero."""
    return any(size and bits == every(size) for bits, size in zip(zeros, sizes, strict=True))


@dataclass(frozen=True, slots=True)
class _Base:
    """The zeros of a storage, by the axes of the tensor that was made with it."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    zeros: Zeros


@dataclass(frozen=True, slots=True)
class _Part:
    """What a view shows of its base.

    axes: for each of its axes the base's and the step along it; None: several of the base's, or none.
    starts: the first index along each of the base's axes. whole: the base's axes on which any index may occur.
    """

    axes: tuple[tuple[int, int] | None, ...]
    starts: tuple[int, ...]
    whole: frozenset[int]


class ZeroMap:
    """The zeros of every storage that has some."""

    def __init__(self) -> None:
        self.bases: dict[int, _Base] = {}

    def of(self, tensor: Tensor) -> Zeros | None:
        """The zeros of a tensor; None where none are known."""
        base = self.bases.get(storage_of(tensor))
        if base is None:
            return None
        if (tensor.storage_offset(), tensor.shape, tensor.stride()) == (base.offset, base.sizes, base.strides):
            return base.zeros
        part = _part(base, tensor)
        if part is None:
            return None
        shown = {axis for found in part.axes if found is not None for axis in (found[0],)}
        fixed = set(range(len(base.sizes))) - shown - part.whole
        if tensor.dim() and any(base.zeros[axis] >> part.starts[axis] & 1 for axis in fixed):
            return (every(tensor.shape[0]), *(0 for _ in tensor.shape[1:]))
        zeros = []
        for size, found in zip(tensor.shape, part.axes, strict=True):
            bits = 0
            if found is not None:
                axis, step = found
                seen = base.zeros[axis] >> part.starts[axis]
                bits = seen & every(size) if step == 1 else sum((seen >> step * i & 1) << i for i in range(size))
            zeros.append(bits)
        return tuple(zeros) if any(zeros) else None

    def follow(
        self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any,
        before: Sequence[Zeros | None],
    ) -> None:  # fmt: skip
        """Note what a call wrote. before: the zeros of its tensors when it began."""
        if operator.view:
            return
        if operator.in_place:
            self._written_in_place(operator, args)
            return
        rule = _RULES.get(operator.name)
        if operator.mutates:
            self._forget(args, kwargs)
        for position, result in enumerate(out if isinstance(out, (tuple, list)) else (out,)):
            if not isinstance(result, Tensor) or result.layout is not torch.strided:
                continue
            zeros = rule(args, kwargs, before, result) if rule is not None and position == 0 else None
            if zeros is not None and any(zeros):
                sizes, strides = tuple(result.shape), result.stride()
                self.bases[storage_of(result)] = _Base(int(result.storage_offset()), sizes, strides, zeros)
            elif self.bases:
                self.bases.pop(storage_of(result), None)

    def _written_in_place(self, operator: Operator, args: Sequence[Any]) -> None:
        target = args[0]
        if not isinstance(target, Tensor):
            return
        if operator.name in _ZEROING or (operator.name == "aten::fill_" and args[1:] in ((0,), (0.0,), (False,))):
            if target.dim() and target.is_contiguous() and target.storage_offset() == 0:
                zeros = (every(target.shape[0]), *(0 for _ in target.shape[1:]))
                self.bases[storage_of(target)] = _Base(0, tuple(target.shape), target.stride(), zeros)
            return
        base = self.bases.get(storage_of(target))
        if base is None or operator.name[:-1] in _KEPT_IN_PLACE:
            return
        source = next((arg for arg in args[1:] if isinstance(arg, Tensor)), None)
        written = self.of(source) if source is not None else None
        if operator.name == "aten::copy_" and written and is_all_zero(written, source.shape):  # type: ignore[union-attr]
            return
        part = _part(base, target)
        emptied = is_all_zero(base.zeros, base.sizes)
        zeros = []  # type: ignore[assignment]
        for axis, size in enumerate(base.sizes):
            touched = every(size) if part is None else _touched(part, axis, size, target)
            zeros.append(every(size) & ~touched if emptied else base.zeros[axis] & ~touched)  # type: ignore[attr-defined]
        if any(zeros):
            self.bases[storage_of(target)] = _Base(base.offset, base.sizes, base.strides, tuple(zeros))
        else:
            del self.bases[storage_of(target)]

    def _forget(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, Tensor):
                    self.bases.pop(storage_of(item), None)


def _part(base: _Base, view: Tensor) -> _Part | None:
    """Which of the base's elements a view shows; None if its offset is none of the base's positions."""
    left = int(view.storage_offset()) - base.offset
    order = sorted(range(len(base.sizes)), key=lambda axis: -base.strides[axis])
    starts = [0] * len(base.sizes)
    for axis in order:
        if base.sizes[axis] > 1 and base.strides[axis]:
            starts[axis], left = divmod(left, base.strides[axis])
    if left or any(not 0 <= start < max(1, size) for start, size in zip(starts, base.sizes, strict=True)):
        return None
    axes: list[tuple[int, int] | None] = []
    several = False
    for size, stride in zip(view.shape, view.stride(), strict=True):
        found = None
        if size > 1 and stride:
            inner = [
                axis for axis in order if base.sizes[axis] > 1 and base.strides[axis] and base.strides[axis] <= stride
            ]
            axis = inner[0] if inner else -1
            if axis >= 0 and not stride % base.strides[axis]:
                step = stride // base.strides[axis]
                if starts[axis] + step * (size - 1) < base.sizes[axis]:
                    found = (axis, step)
            several = several or found is None
        axes.append(found)
    shown = [found[0] for found in axes if found is not None]
    twice = {axis for axis in shown if shown.count(axis) > 1}
    axes = [None if found is not None and found[0] in twice else found for found in axes]
    whole = frozenset(range(len(base.sizes))) - set(shown) if several else frozenset(twice)
    return _Part(tuple(axes), tuple(starts), whole | twice)


def _touched(part: _Part, axis: int, size: int, view: Tensor) -> int:
    """The indices along one of the base's axes that a view covers."""
    if axis in part.whole:
        return every(size)
    for extent, found in zip(view.shape, part.axes, strict=True):
        if found is not None and found[0] == axis:
            return sum(1 << part.starts[axis] + found[1] * index for index in range(extent))
    return 1 << part.starts[axis]


ZeroRule = Callable[[Sequence[Any], Mapping[str, Any], Sequence[Zeros | None], Tensor], Zeros | None]
"""Arguments, the zeros of the tensors among them in order, and the result, to the result's zeros."""

_ZEROING = frozenset(("aten::zero_",))
_KEEPING = frozenset(
    f"aten::{name}"
    for name in (
        "relu", "relu6", "neg", "abs", "clone", "_to_copy", "native_dropout", "gelu", "silu", "tanh", "hardtanh",
        "leaky_relu", "elu", "celu", "mish", "hardswish", "sin", "tan", "asin", "atan", "sinh", "asinh", "atanh", "erf",
        "sqrt", "square", "sign", "sgn", "round", "floor", "ceil", "trunc", "expm1", "log1p", "softshrink",
        "hardshrink", "_prelu_kernel", "mul", "div", "positive", "lift_fresh", "_unsafe_view", "_reshape_copy",
    )
)  # fmt: skip
"""Functions that are zero at zero."""
_KEPT_IN_PLACE = _KEEPING | {"aten::detach", "aten::requires_grad", "aten::resize", "aten::set"}


def _aligned(zeros: Zeros | None, sizes: Sequence[int], result: Tensor) -> list[int]:
    """An operand's zeros along the axes of the result that it is broadcast to."""
    bits = [0] * (result.dim() - len(sizes)) + list(zeros or (0,) * len(sizes))
    own = [1] * (result.dim() - len(sizes)) + list(sizes)
    return [
        (every(size) if found else 0) if extent == 1 != size else found
        for found, extent, size in zip(bits, own, result.shape, strict=True)
    ]


def _operands(args: Sequence[Any], before: Sequence[Zeros | None], result: Tensor) -> list[list[int]]:
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    return [_aligned(zeros, x.shape, result) for x, zeros in zip(tensors, before, strict=False)]


def _all(args: Sequence[Any], _kwargs: object, _before: object, result: Tensor) -> Zeros | None:
    return (every(result.shape[0]), *(0 for _ in result.shape[1:])) if result.dim() else None


def _filled(args: Sequence[Any], kwargs: object, before: object, result: Tensor) -> Zeros | None:
    return _all(args, kwargs, before, result) if not isinstance(args[-1], Tensor) and args[-1] == 0 else None


def _kept(args: Sequence[Any], _kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    if not before or before[0] is None or args[0].shape != result.shape:
        return None
    return before[0]


def _any_factor(args: Sequence[Any], _kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    operands = _operands(args, before, result)
    return tuple(_united(bits) for bits in zip(*operands, strict=True))


def _united(bits: Sequence[int]) -> int:
    united = 0
    for item in bits:
        united |= item
    return united


def _dividend(args: Sequence[Any], kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    return tuple(_operands(args, before, result)[0]) if isinstance(args[0], Tensor) else None


def _every_term(args: Sequence[Any], _kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    """A sum is zero where all its terms are; a number is none."""
    if any(isinstance(arg, (int, float, complex)) and arg != 0 for arg in args[:2]):
        return None
    found = [
        _aligned(zeros, x.shape, result)
        for x, zeros in zip([arg for arg in args[:2] if isinstance(arg, Tensor)], before, strict=False)
    ]
    return _common(found, result)


def _common(operands: Sequence[Sequence[int]], result: Tensor) -> Zeros | None:
    """Axis by axis what all have; an operand that is zero throughout leaves the others' as they are.

    A corner where one has rows and another has columns is left out: it is no slice.
    """
    some = [bits for bits in operands if not is_all_zero(tuple(bits), result.shape)]
    if not some:
        return tuple(operands[0]) if operands else None
    common = list(some[0])
    for bits in some[1:]:
        common = [a & b for a, b in zip(common, bits, strict=True)]
    return tuple(common)


def _padded(
    args: Sequence[Any], kwargs: Mapping[str, Any], before: Sequence[Zeros | None], result: Tensor
) -> Zeros | None:
    """Zeros before and after; a negative padding crops."""
    if (args[2] if len(args) > 2 else kwargs.get("value", 0)) != 0:
        return None
    x, pads = args[0], list(args[1])
    zeros = list(before[0] or (0,) * x.dim())
    for position in range(len(pads) // 2):
        axis = x.dim() - 1 - position
        lead, trail = pads[2 * position : 2 * position + 2]
        bits, size = zeros[axis], x.shape[axis]
        bits = bits << lead | every(lead) if lead > 0 else bits >> -lead
        end = size + lead
        zeros[axis] = bits | every(trail) << end if trail > 0 else bits & every(end + trail)
    return tuple(zeros)


def _joined(
    args: Sequence[Any], kwargs: Mapping[str, Any], before: Sequence[Zeros | None], result: Tensor
) -> Zeros | None:
    tensors = [x for x in args[0] if x.dim() == result.dim()]
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % result.dim()
    along, at = 0, 0
    others: list[list[int]] = []
    for x, found in zip(args[0], before, strict=True):
        if x.dim() != result.dim():
            continue
        bits = list(found or (0,) * x.dim())
        if found is not None and is_all_zero(found, x.shape):
            bits[dim] = every(x.shape[dim])
        else:
            others.append(bits)
        along |= bits[dim] << at
        at += x.shape[dim]
    if not tensors or not others:
        return (every(result.shape[0]), *(0 for _ in result.shape[1:])) if tensors else None
    common = [_shared([bits[axis] for bits in others]) for axis in range(result.dim())]
    common[dim] = along
    return tuple(common)


def _shared(bits: Sequence[int]) -> int:
    common = bits[0]
    for item in bits[1:]:
        common &= item
    return common


def _windows(zeros: int, size: int, positions: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The positions whose whole window meets zeros or lies outside."""
    found = 0
    for position in range(positions):
        first = position * stride - padding
        taps = (first + dilation * tap for tap in range(kernel))
        if all(not 0 <= index < size or zeros >> index & 1 for index in taps):
            found |= 1 << position
    return found


def _spread(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _convolved(args: Sequence[Any], _kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    """Without a bias a position is zero if its window meets nothing else."""
    x, weight, bias, stride, padding, dilation, transposed = args[:7]
    if before[0] is None or bias is not None or transposed:
        return None
    if is_all_zero(before[0], x.shape):
        return (every(result.shape[0]), *(0 for _ in result.shape[1:]))
    rank = result.dim() - 2
    hyper = zip(_spread(stride, rank), _spread(padding, rank), _spread(dilation, rank), strict=True)
    windows = [
        _windows(before[0][axis + 2], x.shape[axis + 2], result.shape[axis + 2], weight.shape[axis + 2], *steps)
        if before[0][axis + 2] else 0
        for axis, steps in enumerate(hyper)
    ]  # fmt: skip
    return (before[0][0], 0, *windows)


def _pooled(args: Sequence[Any], _kwargs: object, before: Sequence[Zeros | None], result: Tensor) -> Zeros | None:
    """The largest or the mean of zeros is zero."""
    if before[0] is None:
        return None
    x, kernel = args[0], args[1]
    stride = args[2] if len(args) > 2 and args[2] else kernel
    padding = args[3] if len(args) > 3 else 0
    rank = 2 if isinstance(kernel, int) else len(kernel)
    hyper = zip(_spread(kernel, rank), _spread(stride, rank), _spread(padding, rank), strict=True)
    windows = [
        _windows(before[0][axis - rank], x.shape[axis - rank], result.shape[axis - rank], size, step, pad, 1)
        if before[0][axis - rank] else 0
        for axis, (size, step, pad) in enumerate(hyper)
    ]  # fmt: skip
    return (*before[0][: result.dim() - rank], *windows)


_RULES: dict[str, ZeroRule] = {
    **dict.fromkeys(("aten::zeros", "aten::zeros_like", "aten::new_zeros"), _all),
    **dict.fromkeys(("aten::full", "aten::full_like", "aten::new_full"), _filled),
    **dict.fromkeys(_KEEPING, _kept),
    "aten::mul": _any_factor,
    "aten::div": _dividend,
    **dict.fromkeys(("aten::add", "aten::sub", "aten::maximum", "aten::minimum"), _every_term),
    "aten::constant_pad_nd": _padded,
    "aten::cat": _joined,
    "aten::convolution": _convolved,
    **dict.fromkeys(("aten::max_pool2d_with_indices", "aten::avg_pool2d", "aten::max_pool3d_with_indices",
                     "aten::avg_pool3d"), _pooled),
}  # fmt: skip

SOURCES = frozenset(
    f"aten::{name}"
    for name in (
        "zeros",
        "zeros_like",
        "new_zeros",
        "full",
        "full_like",
        "new_full",
        "constant_pad_nd",
        "zero_",
        "fill_",
    )
)
