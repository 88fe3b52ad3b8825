"""Copying a module's structure, as ``copy.deepcopy`` would, but with other tensors, several times faster, and further.

Further: a function that has captured the module, or a part of it, is copied to refer to the double; ``copy.deepcopy``
shares functions, and the double would run the original.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

CopyTensor = Callable[[Tensor], Tensor]

_SHARED = frozenset(
    (int, float, bool, str, bytes, complex, type(None), type, ModuleType, torch.dtype, torch.device, torch.Size)
)
_MAPPINGS = frozenset((dict, OrderedDict))
_CONTAINERS = frozenset((dict, OrderedDict, list, set, tuple))


class Doubler:
    """Makes one double; what is referred to twice is copied once."""

    def __init__(self, copy_tensor: CopyTensor) -> None:
        self._copy_tensor = copy_tensor
        self._memo: dict[int, Any] = {}

    def double(self, original: nn.Module) -> nn.Module:
        """The double of a module: parameters and buffers by ``copy_tensor``, everything else by value."""
        return self._module(original)

    def _registered(self, tensor: Tensor | None) -> Tensor | None:
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
        original = getattr(original, "_orig_mod", original)  # torch.compile's wrapper stands for what it wraps
        known: nn.Module | None = self._memo.get(id(original))
        if known is not None:
            return known
        kind = type(original)
        if hasattr(kind, "__deepcopy__") or kind.__getstate__ != nn.Module.__getstate__:
            return self._by_its_own_rules(original)
        double = kind.__new__(kind)
        self._memo[id(original)] = double
        attributes: dict[str, Any] = {}
        object.__setattr__(double, "__dict__", attributes)
        for name, value in original.__dict__.items():
            kind = type(value)
            if kind in _SHARED:
                attributes[name] = value
            elif kind in _CONTAINERS and not value:
                attributes[name] = kind()
            elif name == "_compiled_call_impl":  # module.compile(): the double runs what it was made from
                continue
            elif name == "_modules":
                children = ((key, child if child is None else self._module(child)) for key, child in value.items())
                attributes[name] = kind(children)
            elif name in ("_parameters", "_buffers"):
                attributes[name] = kind((key, self._registered(tensor)) for key, tensor in value.items())
            else:
                attributes[name] = self._value(value, owned=True)
        return double

    def _by_its_own_rules(self, original: nn.Module) -> nn.Module:
        """A module that says how it is copied (parametrised, traced, scripted); its tensors are doubled beforehand."""
        for part in original.modules():
            for tensor in (*part._parameters.values(), *part._buffers.values()):
                self._registered(tensor)
        return copy.deepcopy(original, self._memo)

    def _value(self, value: Any, *, owned: bool) -> Any:
        """The double of an attribute (``owned``), or of something that a function has captured.

        Objects of other kinds are copied whole if owned, and shared if captured: they may be anything.
        """
        kind = type(value)
        if kind in _SHARED:
            return value
        known = self._memo.get(id(value))
        if known is not None:
            return known
        if kind in _MAPPINGS:
            mapping = self._memo[id(value)] = kind()
            mapping.update((key, self._value(item, owned=owned)) for key, item in value.items())
            return mapping
        if kind is list:
            items: list[Any] = []
            self._memo[id(value)] = items
            items.extend(self._value(item, owned=owned) for item in value)
            return items
        if kind is tuple:
            doubles = tuple(self._value(item, owned=owned) for item in value)
            return doubles if any(a is not b for a, b in zip(doubles, value, strict=True)) else value
        if kind is FunctionType:
            return self._function(value)
        if isinstance(value, nn.Parameter):
            return self._registered(value)
        if isinstance(value, Tensor):
            return self._loose_tensor(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if kind is MethodType and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self._module(value.__self__))
        return self._deep(value) if owned else value

    def _loose_tensor(self, tensor: Tensor) -> Tensor:
        double = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        self._memo[id(tensor)] = double
        return double

    def _deep(self, value: Any) -> Any:
        try:
            return copy.deepcopy(value, self._memo)
        except Exception:  # locks, handles, graphs: nothing a copy could be made of
            return value

    def _function(self, original: FunctionType) -> FunctionType:
        """The function itself, or, if it has captured something, one like it that has captured the doubles."""
        if original.__closure__ is None:
            return original
        cells = [self._memo.setdefault(id(cell), CellType()) for cell in original.__closure__]
        double = FunctionType(
            original.__code__, original.__globals__, original.__name__, original.__defaults__, tuple(cells)
        )
        double.__kwdefaults__ = original.__kwdefaults__
        double.__dict__.update(original.__dict__)
        self._memo[id(original)] = double
        for cell, captured in zip(cells, original.__closure__, strict=True):
            try:
                content = captured.cell_contents
            except ValueError:  # not filled yet
                continue
            cell.cell_contents = self._value(content, owned=False)
        return double
