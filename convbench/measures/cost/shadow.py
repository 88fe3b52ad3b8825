"""A module's double that can be run without touching the module: same structure and attributes, other tensors."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

CopyTensor = Callable[[Tensor], Tensor]
Method = Literal["meta", "fake", "real"]

_SHARED = frozenset(
    (int, float, bool, str, bytes, complex, type(None), FunctionType, ModuleType, torch.dtype, torch.device, torch.Size)
)
_CONTAINERS = frozenset((dict, OrderedDict, list, set))


def meta_copy(tensor: Tensor) -> Tensor:
    """A tensor of the same sizes, strides and dtype without storage."""
    if tensor.layout is not torch.strided:
        return tensor.detach().to("meta")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def real_copy(tensor: Tensor) -> Tensor:
    """A copy of the values."""
    return tensor.detach().clone()


def fake_copy(tensor: Tensor) -> Tensor:
    """A fake tensor on the tensor's own device (the CPU for a meta tensor); to be called under the fake mode."""
    device = torch.device("cpu") if tensor.is_meta else tensor.device
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


@contextmanager
def doubling(method: Method) -> Iterator[CopyTensor]:
    """How tensors are doubled for a method; the mode that such tensors need is active meanwhile."""
    if method == "fake":
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True):
            yield fake_copy
    else:
        yield meta_copy if method == "meta" else real_copy


def shadow(module: nn.Module, copy_tensor: CopyTensor) -> nn.Module:
    """The module's double, with parameters and buffers made by ``copy_tensor``.

    Everything that a forward pass could change is the double's own: tensors, attributes, hook tables, containers.
    Unregistered tensors are copied with their values. What cannot be copied (a lock, a file) is shared.
    """
    return _Doubler(copy_tensor).module(module)


def shadow_inputs(inputs: Any, copy_tensor: CopyTensor, *, input_grad: bool) -> tuple[Any, tuple[Tensor, ...]]:
    """Arguments with every tensor replaced, and the leaves to differentiate by.

    With ``input_grad`` floating inputs are results of an operator on a leaf, as a block's input in a network is: the
    module may change them in place.
    """
    leaves: list[Tensor] = []

    def double(tensor: Tensor) -> Tensor:
        made = copy_tensor(tensor)
        if not (input_grad and (made.is_floating_point() or made.is_complex())):
            return made
        leaves.append(made.requires_grad_())
        with torch.enable_grad():
            return made.clone()

    def replace(value: object) -> object:
        if isinstance(value, PackedSequence):  # its batch sizes are data that shapes depend on, and live on the CPU
            indices = (None if item is None else copy_tensor(item) for item in value[2:])
            return PackedSequence(double(value.data), value.batch_sizes.clone(), *indices)
        return double(value) if isinstance(value, Tensor) else value

    replaced = tree_map(replace, inputs, is_leaf=lambda value: isinstance(value, PackedSequence))
    return replaced, tuple(leaves)


class _Doubler:
    def __init__(self, copy_tensor: CopyTensor) -> None:
        self._copy_tensor = copy_tensor
        self._memo: dict[int, Any] = {}

    def module(self, original: nn.Module) -> nn.Module:
        for each in original.modules():
            for tensor in (*each._parameters.values(), *each._buffers.values()):
                self._tensor(tensor)
        return self._module(original)

    def _tensor(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        double: Tensor | None = self._memo.get(id(tensor))
        if double is None:
            if is_lazy(tensor):
                double = copy.deepcopy(tensor)
            elif isinstance(tensor, nn.Parameter):
                double = nn.Parameter(self._copy_tensor(tensor), tensor.requires_grad)
            else:
                double = self._copy_tensor(tensor)
            self._memo[id(tensor)] = double
        return double

    def _module(self, original: nn.Module) -> nn.Module:
        known: nn.Module | None = self._memo.get(id(original))
        if known is not None:
            return known
        kind = type(original)
        if hasattr(kind, "__deepcopy__") or kind.__getstate__ != nn.Module.__getstate__:
            return copy.deepcopy(original, self._memo)
        double = kind.__new__(kind)
        self._memo[id(original)] = double
        attributes: dict[str, Any] = {}
        object.__setattr__(double, "__dict__", attributes)
        for name, value in original.__dict__.items():
            if name == "_compiled_call_impl":  # module.compile(): the double runs the operators it was made from
                continue
            if name == "_modules":
                children = ((key, child if child is None else self._module(child)) for key, child in value.items())
                attributes[name] = type(value)(children)
            elif name in ("_parameters", "_buffers"):
                attributes[name] = type(value)((key, self._tensor(tensor)) for key, tensor in value.items())
            else:
                attributes[name] = self._attribute(value)
        return double

    def _attribute(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SHARED:
            return value
        if kind in _CONTAINERS and not value:
            return kind()
        if kind is tuple and all(type(item) in _SHARED for item in value):
            return value
        if isinstance(value, Tensor):
            known = self._memo.get(id(value))
            return known if known is not None else value.detach().clone().requires_grad_(value.requires_grad)
        if isinstance(value, nn.Module):
            return self._module(value)
        try:
            return copy.deepcopy(value, self._memo)
        except Exception:  # locks, handles, graphs: nothing a copy could be made of
            return value
