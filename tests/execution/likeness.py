"""What a module is, all the way down: equal likenesses mean that nothing about it has changed."""

from __future__ import annotations

import functools
import gc
import io
import os
import random
import threading
import types
import warnings
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def likeness(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Nested tuples of identities and contents; what was met before is its number."""
    seen = {} if seen is None else seen
    if isinstance(value, int | float | str | bytes | bool | None | type | complex):
        return value
    if id(value) in seen:
        return ("again", len(seen))
    seen[id(value)] = value

    def inner(item: Any) -> Any:
        return likeness(item, seen)

    if isinstance(value, Tensor):
        return _tensor(value, inner)
    if isinstance(value, torch.jit.ScriptModule):
        return (id(value), value.training, [tensor.tolist() for tensor in value.state_dict().values()])
    if isinstance(value, dict):
        return (id(value), [(inner(key), inner(item)) for key, item in value.items()])
    if isinstance(value, list | tuple | deque | set | frozenset):
        return (type(value).__name__, id(value), [inner(item) for item in value])
    if isinstance(value, types.FunctionType):
        cells = [inner(cell.cell_contents) for cell in value.__closure__ or ()]
        return (id(value), cells, inner(value.__defaults__), inner(value.__kwdefaults__))
    if isinstance(value, types.MethodType):
        return (inner(value.__self__), inner(value.__func__))
    if isinstance(value, functools.partial):
        return (inner(value.func), inner(value.args), inner(value.keywords))
    if isinstance(value, weakref.ref):
        return inner(value())
    return (id(value), _content(value), *(inner(item) for item in _attributes(value)))


def surroundings() -> dict[str, Any]:
    """The state of the process that a call may move."""
    hooks = torch.nn.modules.module
    return {
        "torch's random state": torch.get_rng_state().tolist(),
        "Python's random state": random.getstate(),
        "NumPy's random state": np.random.get_state()[1].tolist(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "threads": torch.get_num_threads(),
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "global hooks": (len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks)),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "garbage collector": gc.isenabled(),
    }


def _tensor(value: Tensor, inner: Any) -> Any:
    content: Any = None
    if value.layout is torch.strided and not value.is_quantized and not torch.nn.parameter.is_lazy(value):
        content = (
            value._version,
            value.detach().clone().view(torch.uint8).tolist() if value.numel() and value.dim() else None,
        )
    grad = None if not value.is_leaf else value.grad
    return (id(value), content, value.requires_grad, None if grad is None else (id(grad), grad.tolist()))


def _content(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, io.IOBase):
        return value.tell()
    if isinstance(value, threading.local):
        return dict(value.__dict__)
    return repr(value) if type(value).__module__ in ("itertools", "_thread") else None


def _attributes(value: Any) -> list[Any]:
    if isinstance(value, types.ModuleType | io.IOBase | threading.local) or type(value).__module__.startswith(
        "torch.fx"
    ):
        return []
    slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ()) if name != "__weakref__"]
    if isinstance(value, nn.Module):
        slots.append(value.training)
    return [*slots, *(item for pair in getattr(value, "__dict__", {}).items() for item in pair)]
