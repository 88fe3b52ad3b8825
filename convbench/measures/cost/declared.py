"""What modules declare of their own algorithm.

``algorithmic_macs(*inputs) -> int``: MACs of the module's whole forward if its algorithm ran as well as it can.
``sampling_macs(*inputs) -> int``: weighted sums of sampling that the module writes with gathers, hidden from operators.
A declaration covers everything below its module: declarations inside it are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves

from convbench.errors import MeasurementError
from convbench.execution.modules import Node
from convbench.measures.cost.counter import CostCounter

_WITH_GRADIENTS = 3  # a weighted sum w·v, and in the backward pass the gradients of w and of v, one product each


@dataclass(slots=True)
class Declarations:
    """Gathers the declarations of a module and those below it while it runs under a counter.

    saved_macs: MACs executed by declaring modules beyond what they declare.
    sampling: declared sampling MACs beyond what operators showed, and the number of calls, at each node.
    """

    counter: CostCounter
    saved_macs: int = 0
    algorithmic: bool = False
    sampling: dict[Node, tuple[int, int]] = field(default_factory=dict)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ask every declaring module at each of its calls; a tree without declarations gets no hook."""
        handles = []
        for method, counted, heard in (
            ("algorithmic_macs", lambda: self.counter.macs, self._hear_algorithmic),
            ("sampling_macs", lambda: self.counter.sampling_macs, self._hear_sampling),
        ):
            if any(callable(getattr(node.module, method, None)) for node in self.counter.tree.nodes):
                listener = _Listener(self.counter, method, counted, heard)
                handles.append(register_module_forward_pre_hook(listener.enter))
                handles.append(register_module_forward_hook(listener.leave, with_kwargs=True, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hear_algorithmic(self, _node: Node, executed: int, declared: int, _output: object) -> None:
        self.algorithmic = True
        self.saved_macs += executed - declared

    def _hear_sampling(self, node: Node, executed: int, declared: int, output: object) -> None:
        differentiable = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_leaves(output))
        share = _WITH_GRADIENTS if differentiable else 1
        macs, calls = self.sampling.get(node, (0, 0))
        self.sampling[node] = macs + share * (declared - executed), calls + 1


@dataclass(slots=True)
class _Listener:
    """Compares, for the outermost modules with the method, what ran during a call with what they declare for it."""

    counter: CostCounter
    method: str
    counted: Callable[[], int]
    heard: Callable[[Node, int, int, object], None]
    open: list[tuple[nn.Module, Node, int]] = field(default_factory=list)

    def enter(self, module: nn.Module, _args: object) -> None:
        if callable(getattr(module, self.method, None)) and self.counter.tree.stack:
            self.open.append((module, self.counter.tree.stack[-1], self.counted()))

    def leave(self, module: nn.Module, args: Sequence[object], kwargs: Mapping[str, object], output: object) -> None:
        if not self.open or self.open[-1][0] is not module:
            return
        _, node, before = self.open.pop()
        if self.open or output is None:  # inside another declaration, or the call failed
            return
        self.counter.paused = True
        try:
            with torch.no_grad():
                declared = getattr(module, self.method)(*args, **kwargs)
        except Exception as error:
            kind = type(module).__name__
            raise MeasurementError(
                f"{kind}.{self.method}(*inputs) failed: {error}; it must take the inputs of forward and return an int"
            ) from error
        finally:
            self.counter.paused = False
        self.heard(node, self.counted() - before, int(declared), output)
