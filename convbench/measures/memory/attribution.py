"""Which module is running, in forward and in backward."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._C._autograd import _get_sequence_nr

_ACCUMULATE_GRAD = 2**64 - 1  # the number of nodes that store a gradient: they come before all others


def running_node() -> int | None:
    """Sequence number of the autograd node that is being evaluated, or None outside backward."""
    node = torch._C._current_autograd_node()
    return None if node is None else int(node._sequence_nr())


class RunningModules:
    """Names of the modules of ``root`` while they run.

    ``root`` must be a throw-away copy: the forward of each of its modules is wrapped, by an attribute of the instance,
    because a hook would switch the fast paths of attention layers off.

    In backward the module is found by the autograd node's sequence number: nodes are numbered in the order in which
    forward creates them, so each stretch of numbers belongs to the module that ran at that time.
    """

    def __init__(self, root: nn.Module) -> None:
        self._running = [""]
        self._starts = [_get_sequence_nr()]
        self._names = [""]
        for name, module in root.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):  # a script's forward cannot be replaced
                module.forward = self._wrap(name, module.forward)

    def current(self) -> str:
        """Path of the innermost module that runs now, or whose forward is being differentiated now."""
        number = running_node()
        if number is None or len(self._running) > 1:  # a checkpoint runs modules again, inside backward
            return self._running[-1]
        if number == _ACCUMULATE_GRAD:
            return ""
        return self._names[max(bisect_right(self._starts, number) - 1, 0)]

    def _wrap(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def named(*args: Any, **kwargs: Any) -> Any:
            self._enter(name)
            try:
                return forward(*args, **kwargs)
            finally:
                self._leave()

        return named

    def _enter(self, name: str) -> None:
        self._running.append(name)
        self._mark(name)

    def _leave(self) -> None:
        self._running.pop()
        self._mark(self._running[-1])

    def _mark(self, name: str) -> None:
        self._starts.append(_get_sequence_nr())
        self._names.append(name)
