"""What depends on the input, and so grows with the batch: spread from the arguments through every operator."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

from convbench.measures.cost.pricing import Operator


class Growth(Enum):
    """How the work of a call follows the batch, as far as its operands tell."""

    BATCH = "grows"
    NONE = "constant"
    """Made of weights alone."""
    UNCLEAR = "unclear"
    """Made of tensors created on the way, whose sizes may or may not come from the batch."""


def storage_of(tensor: Tensor) -> int:
    """An identity that a tensor shares with its views, for as long as one of them lives."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and packed layouts have no one storage
        return id(tensor)


class Provenance:
    """Which storages hold values that come from the network's input, and which were created on the way.

    A weight expanded over further elements counts as created, though not the weight itself. batch: the first size of
    the first input. unclear: whether only another batch size can tell what grows.
    """

    def __init__(self) -> None:
        self.used: set[int] = set()
        self.batch = 1
        self.unclear = False
        self._dependent: set[int] = set()
        self._created: set[int] = set()
        self._expanded: set[tuple[object, ...]] = set()

    def start(self, inputs: Sequence[Tensor]) -> None:
        """Dependence starts at these tensors."""
        self._dependent.update(storage_of(tensor) for tensor in inputs)
        self.batch = next((tensor.shape[0] for tensor in inputs if tensor.dim()), 1)

    def spread(self, operator: Operator, operands: Sequence[Tensor], out: object, *, leaves_batch: bool) -> Growth:
        """Mark the results of a call; says how the call itself grows. leaves_batch: it gives up the first axis."""
        storages = [storage_of(tensor) for tensor in operands]
        self.used.update(storages)
        results = [out] if isinstance(out, Tensor) else out if isinstance(out, (tuple, list)) else ()
        tensors = [result for result in results if isinstance(result, Tensor)]
        if not self._dependent.isdisjoint(storages):
            if leaves_batch and operands[0].shape[0] == self.batch:
                self.unclear = True
            if not operator.view:
                self._dependent.update(map(storage_of, tensors))
            return Growth.BATCH
        created = not self._created.isdisjoint(storages) or (
            bool(self._expanded) and any(_view_key(tensor) in self._expanded for tensor in operands)
        )
        if operator.view:
            if created or _grows(operator, operands, tensors):
                self._expanded.update(map(_view_key, tensors))
        else:
            made = set(map(storage_of, tensors))
            self._dependent -= made
            if created or operator.creates:
                self._created |= made
            else:
                self._created -= made
        return Growth.UNCLEAR if created else Growth.NONE


def _grows(operator: Operator, operands: Sequence[Tensor], results: Sequence[Tensor]) -> bool:
    return operator.expands and results[0].numel() > operands[0].numel()


def _view_key(tensor: Tensor) -> tuple[object, ...]:
    layout = tensor.stride() if tensor.layout is torch.strided else tensor.layout
    return (storage_of(tensor), tensor.shape, layout)
