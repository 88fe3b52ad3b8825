"""Storage lifetimes, seen by a dispatch mode. Real, fake and meta tensors alike."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.measures.cost.inference import infer
from convbench.measures.memory.ledger import StorageLedger
from convbench.measures.memory.result import EXISTING


class LifetimeMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells a ledger of every tensor that an operator takes or gives."""

    # Running an operator of higher order as one unit is better than refusing the module.
    supports_higher_order_operators = True

    def __init__(self, ledger: StorageLedger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger = ledger
        self.units: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave torch._dynamo unimported: nothing is compiled here, and the import takes longer than most calls."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        is_operator = isinstance(func, torch._ops.OpOverload)
        if is_operator and torch.is_inference_mode_enabled():
            # Inference mode hands composite operators over whole, and what they allocate inside would stay unseen.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        name = _operator_name(func)
        self._ledger.see(_tensors((args, kwargs)), EXISTING)
        result = self._result(func, args, kwargs)
        if func is torch.ops.aten.add.Tensor and called_by_autograd(sys._getframe().f_back):
            self._ledger.accumulate(result, _tensors(args), name)
        else:
            self._ledger.see(_tensors(result), name)
        if not is_operator:
            self.units.add(name)
        elif func._schema.is_mutable:
            self._ledger.see(_tensors((args, kwargs)), name)
        return result

    @staticmethod
    def _result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operator gives; on shapes alone what it gives on a device, where torch's meta kernel differs.

        That gives a contiguous result of a channels_last convolution, and statistics where a kernel keeps none.
        """
        if isinstance(func, torch._ops.OpOverload) and any(tensor.is_meta for tensor in _tensors((args, kwargs))):
            inferred = infer(func._schema.name, args, kwargs)
            if inferred is not None:
                return inferred
        return func(*args, **kwargs)


def called_by_autograd(caller: FrameType | None) -> bool:
    """Whether an operator was called by the autograd engine and not by Python code; ``caller``: the frame below.

    The engine runs the CPU's nodes where ``backward`` was called, an accelerator's in a thread without Python code.
    """
    return caller is None or caller.f_code.co_name == "_engine_run_backward"


@functools.cache
def _operator_name(operator: Any) -> str:
    return str(operator).removesuffix(".default")


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in the arguments or the results of an operator."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
