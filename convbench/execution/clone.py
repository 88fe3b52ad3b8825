"""The one copier: a clone of a module that can be run, changed and thrown away while the module stays as it is.

``copy.deepcopy`` shares functions, so that the copy of a module whose lambda, hook or bound method has captured a part
runs the original's part; it refuses locks, open files and tensors with a history; and a module can say in
``__deepcopy__`` that it is its own copy. Here modules and objects are taken apart attribute by attribute, whatever they
say of themselves, functions are made again over clones of what they captured, and what cannot be cloned is shared.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import io
import logging
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from enum import Enum
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from convbench.errors import MeasurementError
from convbench.execution.tensors import How, RealTensors, tensors_for

_SHARED = frozenset(
    {int, float, bool, str, bytes, complex, type(None), type, ModuleType, CodeType, range, slice}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
)
_SHARED_BASES = (
    *(type, Enum, logging.Logger, logging.Handler, threading.Thread, Executor),
    *(torch.jit.ScriptFunction, torch.ScriptObject),
)
_SHARED_MODULES = ("torch.fx.graph", "torch._ops")  # a graph of operators is not changed by running it
_LIBRARIES = frozenset((*sys.stdlib_module_names, "torch", "numpy", "convbench"))
_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_PLAIN = frozenset((dict, OrderedDict, list, set))
_FIXED = (type, ModuleType, BuiltinFunctionType)
_CONTAINERS = (dict, list, set, deque, Tensor, nn.Module)


def clone(module: nn.Module, how: How = "real") -> nn.Module:
    """A clone of ``module`` without gradients: ``real``, its values on its own device; ``meta``, its shapes alone;
    ``frozen``, its values with parameters that ask for no gradient. (``fake``: see `cloning`.)

    Everything that running the clone can change is its own: tensors, modes, attributes, hooks, and the lists, objects
    and modules that its functions have captured. A part made by ``torch.compile`` becomes what it was made from.
    """
    with cloning(how) as cloner:
        return cloner.module(module)


@contextmanager
def cloning(how: How, *, values: bool = False) -> Iterator[Cloner]:
    """A `Cloner`, for a module and the arguments of its call; the mode that fake tensors need is active meanwhile.

    values: whether tensors that are neither parameters nor buffers keep their values where those do not.
    """
    with tensors_for(how) as tensors:
        yield Cloner(tensors, loose=RealTensors() if values else tensors)


class Cloner:
    """Clones modules and arguments of one call; what is referred to twice is cloned once."""

    def __init__(self, tensors: RealTensors, loose: RealTensors | None = None) -> None:
        self._tensors = tensors
        self._loose = loose or tensors
        self._memo: dict[int, Any] = {}
        self._referred: list[Any] = []
        self._kept: list[Any] = []  # what has an entry in the memo: an address is an identity only while it is taken

    def module(self, original: nn.Module) -> nn.Module:
        """The clone of a module."""
        made: nn.Module = self._module(original)
        if self._referred:
            made.__dict__["_referred_to_weakly"] = self._referred  # nothing else may hold these clones
        return made

    def arguments(self, arguments: Any, input_grad: bool = False) -> Any:
        """Nested arguments with every tensor cloned.

        With ``input_grad`` floating tensors are results of an operator on a leaf, as a block's input in a network is:
        the module may change them in place.
        """

        def replace(value: Any) -> Any:
            if isinstance(value, PackedSequence):  # its batch sizes are data that shapes depend on, on the CPU
                indices = (None if item is None else self._tensors.copy(item) for item in value[2:])
                return PackedSequence(replace(value.data), value.batch_sizes.clone(), *indices)
            if not isinstance(value, Tensor):
                return value
            made = self._tensors.copy(value)
            if not (input_grad and (made.is_floating_point() or made.is_complex())):
                return made
            with torch.enable_grad():
                return made.requires_grad_().clone()

        return tree_map(replace, arguments, is_leaf=lambda value: isinstance(value, PackedSequence))

    def _remember(self, original: Any, made: Any) -> Any:
        self._memo[id(original)] = made
        self._kept.append(original)
        return made

    # --- modules

    def _module(self, original: nn.Module) -> Any:
        if type(original).__name__ == "OptimizedModule":  # torch.compile's wrapper stands for what it wraps
            original = original._orig_mod  # type: ignore[assignment]
        known = self._memo.get(id(original))
        if known is not None:
            return known
        if isinstance(original, torch.jit.ScriptModule):
            return self._remember(original, self._script(original))
        made = self._remember(original, object.__new__(type(original)))
        attributes: dict[str, Any] = {}
        object.__setattr__(made, "__dict__", attributes)
        for name, value in original.__dict__.items():
            kind = type(value)
            if kind in _SHARED:
                attributes[name] = value
            elif kind in _PLAIN and not value:  # most tables of hooks; `original` keeps the empty one alive
                attributes[name] = self._memo.setdefault(id(value), kind())
            elif name in ("_parameters", "_buffers"):
                attributes[name] = self._remember(value, kind())
                attributes[name].update((key, self._registered(tensor)) for key, tensor in value.items())
            elif name != "_compiled_call_impl":  # module.compile(): the clone runs what it was made from
                attributes[name] = self._value(value)
        self._slots(original, made)
        return made

    def _script(self, original: Any) -> Any:
        """TorchScript copies its own; its tensors are then replaced one by one."""
        made = copy.deepcopy(original)
        if type(self._tensors) is RealTensors:
            return made
        for part, source in zip(made.modules(), original.modules(), strict=True):
            for name, tensor in (*source._parameters.items(), *source._buffers.items()):
                part._c.setattr(name, self._registered(tensor))
        return made

    def _registered(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        known: Tensor | None = self._memo.get(id(tensor))
        if known is not None:
            return known
        if is_lazy(tensor):
            kind: Any = type(tensor)
            made: Tensor = kind(tensor.requires_grad, self._tensors.device(tensor.data), tensor.data.dtype)
        elif isinstance(tensor, nn.Parameter):
            data, asks = self._tensors.copy(tensor), self._tensors.asks(tensor)
            # Of fake tensors and other subclasses a parameter is made by a mark, not by a class.
            is_plain = type(data) is Tensor and issubclass(type(tensor), nn.Parameter)
            made = Tensor._make_subclass(type(tensor), data, asks) if is_plain else nn.Parameter(data, asks)
        else:
            made = self._tensors.copy(tensor)
            if tensor.requires_grad and self._tensors.asks(tensor):  # a parameter that TorchScript has copied
                made.requires_grad_()
        return self._dressed(tensor, made)

    def _loose_tensor(self, tensor: Tensor) -> Tensor:
        """A tensor that is no parameter and no buffer; one computed from a parameter becomes a leaf."""
        if isinstance(tensor, nn.Parameter):
            return self._registered(tensor)  # type: ignore[return-value]
        made = self._loose.copy(tensor)
        if tensor.requires_grad and self._tensors.asks(tensor):
            made.requires_grad_()
        return self._dressed(tensor, made)

    def _dressed(self, tensor: Tensor, made: Tensor) -> Tensor:
        """The clone with what the tensor carries beside its values: attributes and hooks on its gradient."""
        self._remember(tensor, made)
        if tensor.__dict__ and (type(tensor) is Tensor or issubclass(type(tensor), nn.Parameter)):
            made.__dict__.update({name: self._value(value) for name, value in tensor.__dict__.items()})
        if made.requires_grad:
            for hook in (tensor._backward_hooks or {}).values():
                made.register_hook(self._value(hook))  # type: ignore[no-untyped-call]
        return made

    # --- values of every other kind

    def _value(self, value: Any) -> Any:
        """The clone of an attribute, or of something that a function has captured."""
        kind = type(value)
        if kind in _SHARED:
            return value
        known = self._memo.get(id(value))
        if known is not None:
            return known
        by_kind = _BY_KIND.get(kind)
        if by_kind is not None:
            return by_kind(self, value)
        if isinstance(value, Tensor):
            return self._loose_tensor(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, _SHARED_BASES) or kind.__module__ in _SHARED_MODULES:
            return value
        if kind in weakref.ProxyTypes:
            made = self._value(value.__repr__.__self__)
            self._referred.append(made)
            return weakref.proxy(made)
        if isinstance(value, io.IOBase):
            return self._remember(value, _file(value))
        if isinstance(value, threading.local):
            made = self._remember(value, kind())
            made.__dict__.update(self._items(value.__dict__))
            return made
        return self._object(value)

    def _items(self, mapping: Any) -> list[tuple[Any, Any]]:
        return [(self._value(key), self._value(item)) for key, item in mapping.items()]

    def _mapping(self, value: Any) -> Any:
        made = self._remember(value, type(value)())
        made.update(self._items(value))
        return made

    def _list(self, value: list[Any]) -> list[Any]:
        made: list[Any] = self._remember(value, [])
        made.extend(map(self._value, value))
        return made

    def _deque(self, value: deque[Any]) -> deque[Any]:
        made: deque[Any] = self._remember(value, deque(maxlen=value.maxlen))
        made.extend(map(self._value, value))
        return made

    def _set(self, value: set[Any]) -> set[Any]:
        made: set[Any] = self._remember(value, set())
        made.update(map(self._value, value))
        return made

    def _unchanging(self, value: Any) -> Any:
        """A tuple or frozen set: itself unless something in it has a clone."""
        items = list(value)
        clones = [self._value(item) for item in items]
        if all(one is two for one, two in zip(clones, items, strict=True)):
            return value
        known = self._memo.get(id(value))  # by way of something in it that refers to it
        return self._remember(value, type(value)(clones)) if known is None else known

    def _method(self, value: MethodType) -> MethodType:
        made = self._value(value.__self__)
        return value if made is value.__self__ else MethodType(self._value(value.__func__), made)

    def _builtin(self, value: Any) -> Any:
        """``seen.append`` belongs to a list; ``torch.relu`` to nobody."""
        owner = value.__self__
        if owner is None or isinstance(owner, ModuleType | type):
            return value
        made = self._value(owner)
        return value if made is owner else getattr(made, value.__name__)

    def _partial(self, value: functools.partial[Any]) -> Any:
        keywords = dict(self._items(value.keywords))
        made = functools.partial(self._value(value.func), *map(self._value, value.args), **keywords)
        made.__dict__.update(self._items(value.__dict__))
        return self._remember(value, made)

    def _cached(self, value: Any) -> Any:
        function = self._value(value.__wrapped__)
        return self._remember(value, functools.lru_cache(**value.cache_parameters())(function))

    def _cell(self, value: CellType) -> CellType:
        made: CellType = self._remember(value, CellType())
        with suppress(ValueError):  # not filled yet
            made.cell_contents = self._value(value.cell_contents)
        return made

    def _function(self, value: FunctionType) -> Any:
        """The function itself, or, where it refers to something that can change, one like it over the clones."""
        compiled = value.__dict__.get("_torchdynamo_orig_callable")
        if compiled is not None:
            return self._value(compiled)
        is_bare = not (value.__closure__ or value.__defaults__ or value.__kwdefaults__ or value.__dict__)
        shared = self._globals(value)
        if is_bare and shared is value.__globals__:
            return value
        cells = [self._memo.get(id(cell)) or CellType() for cell in value.__closure__ or ()]
        made = FunctionType(value.__code__, shared, value.__name__, None, tuple(cells) or None)
        self._remember(value, made)
        made.__qualname__, made.__module__ = value.__qualname__, value.__module__
        for cell, captured in zip(cells, value.__closure__ or (), strict=True):
            if id(captured) not in self._memo:
                self._remember(captured, cell)
                with suppress(ValueError):  # not filled yet
                    cell.cell_contents = self._value(captured.cell_contents)
        made.__defaults__ = self._value(value.__defaults__)
        made.__kwdefaults__ = self._value(value.__kwdefaults__)
        made.__dict__.update(self._items(value.__dict__))
        return made

    def _globals(self, value: FunctionType) -> dict[str, Any]:
        """The function's global names: its own, or where it uses one that can change, a copy with clones of those."""
        space = value.__globals__
        if str(space.get("__name__", "")).partition(".")[0] in _LIBRARIES:
            return space
        known = self._memo.get(id(space))
        if id(value.__code__) in self._memo:
            return known or space
        self._remember(value.__code__, value.__code__)
        for name in _names(value.__code__):
            used = space.get(name)
            if _can_change(used, space):
                made = self._value(used)
                if made is not used:
                    known = self._memo.get(id(space)) or self._remember(space, dict(space))
                    known[name] = made
        return known or space

    def _reference(self, value: weakref.ref[Any]) -> Any:
        target = value()
        if target is None:
            return value
        made = self._value(target)
        if made is target:
            return value
        if not isinstance(made, Tensor | dict):
            self._referred.append(made)
        return self._remember(value, type(value)(made))

    def _weak(self, value: Any) -> Any:
        """A weak set or mapping."""
        made = self._remember(value, type(value)())
        made.update(self._items(value) if hasattr(value, "items") else map(self._value, value))
        return made

    def _object(self, value: Any) -> Any:
        kind = type(value)
        try:
            made = object.__new__(kind)  # refused where the class is not written in Python
        except TypeError:
            return self._reduced(value)
        self._remember(value, made)
        with suppress(AttributeError):  # an object without attributes
            made.__dict__.update((name, self._value(item)) for name, item in value.__dict__.items())
        self._slots(value, made)
        return made

    def _slots(self, value: Any, made: Any) -> None:
        for kind in type(value).__mro__:
            names = kind.__dict__.get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if name not in ("__dict__", "__weakref__"):
                    name = _mangled(kind, name)
                    with suppress(AttributeError):  # not set
                        object.__setattr__(made, name, self._value(getattr(value, name)))

    def _reduced(self, value: Any) -> Any:
        """By way of what pickle would write; what pickle refuses is shared."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
            if isinstance(reduced, str):
                return value
            make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
            made = self._remember(value, make(*map(self._value, arguments)))
            if state is not None:
                self._restore(made, self._value(state))
            for item in items or ():
                made.append(self._value(item))
            for key, item in pairs or ():
                made[self._value(key)] = self._value(item)
        except Exception:  # graphs, handles, whatever a class does when it is asked for its state
            return self._remember(value, value)
        return made

    def _restore(self, made: Any, state: Any) -> None:
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return
        attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        made.__dict__.update(attributes or {})
        for name, item in (slots or {}).items():
            setattr(made, name, item)

    def _random(self, value: torch.Generator) -> torch.Generator:
        made: torch.Generator = self._remember(value, torch.Generator(value.device))
        made.set_state(value.get_state())
        return made

    def _lock(self, value: Any) -> Any:
        return self._remember(value, threading.Lock() if type(value) is _LOCK else threading.RLock())

    def _running(self, value: Any) -> Any:
        return self._remember(value, _Unclonable(value))


class _Unclonable:
    """Stands for a running generator: going on with it would be seen by its owner."""

    def __init__(self, value: Any) -> None:
        self._what = f"the module takes values from a running generator ({value.__qualname__})"

    def __iter__(self) -> _Unclonable:
        return self

    def __next__(self) -> Any:
        raise MeasurementError(f"{self._what}, of which there is no copy: measuring would use it up")

    send = throw = __next__


def _can_change(used: Any, space: dict[str, Any]) -> bool:
    """Whether what a function knows by a global name may hold something that a call changes."""
    if isinstance(used, FunctionType):
        return used.__globals__ is space
    if isinstance(used, _CONTAINERS):
        return True
    return not isinstance(used, _FIXED) and type(used).__module__.partition(".")[0] not in _LIBRARIES


def _mangled(kind: type, name: str) -> str:
    return f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name


@functools.lru_cache(maxsize=512)
def _names(code: CodeType) -> frozenset[str]:
    """Names that a function and those inside it use."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inner)


def _file(value: Any) -> Any:
    """An open file at the same place for a reader; for a writer, one that leads nowhere."""
    if value in (sys.stdin, sys.stdout, sys.stderr) or value.closed:
        return value
    try:
        if value.readable() and not value.writable():
            binary = not isinstance(value, io.TextIOBase)
            encoding = None if binary else value.encoding
            again = open(value.name, "rb" if binary else "r", encoding=encoding)  # noqa: SIM115
            again.seek(value.tell())
            return again
        return io.StringIO() if isinstance(value, io.TextIOBase) else io.BytesIO()
    except (OSError, AttributeError, ValueError):
        return value


_BY_KIND: dict[type, Callable[[Cloner, Any], Any]] = {
    dict: Cloner._mapping,
    OrderedDict: Cloner._mapping,
    list: Cloner._list,
    deque: Cloner._deque,
    set: Cloner._set,
    tuple: Cloner._unchanging,
    frozenset: Cloner._unchanging,
    FunctionType: Cloner._function,
    MethodType: Cloner._method,
    BuiltinFunctionType: Cloner._builtin,
    functools.partial: Cloner._partial,
    type(functools.lru_cache(len)): Cloner._cached,
    CellType: Cloner._cell,
    GeneratorType: Cloner._running,
    weakref.ref: Cloner._reference,
    weakref.WeakMethod: Cloner._reference,
    weakref.WeakSet: Cloner._weak,
    weakref.WeakKeyDictionary: Cloner._weak,
    weakref.WeakValueDictionary: Cloner._weak,
    torch.Generator: Cloner._random,
    _LOCK: Cloner._lock,
    _RLOCK: Cloner._lock,
}
