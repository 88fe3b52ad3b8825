"""What depends on the input, and so on the batch: spread from the arguments through every operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from convbench.measures.cost.pricing import Operator


def storage_of(tensor: Tensor) -> int:
    """An identity that a tensor shares with its views, for as long as one of them lives."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and packed layouts have no one storage
        return id(tensor)


class Provenance:
    """Which storages hold values, or have sizes, that come from the network's input.

    Tensors created in passing (zeros, empty, …) take their sizes from the input as a rule, and count as dependent;
    so does a parameter expanded over further elements, though not the parameter itself.
    """

    def __init__(self) -> None:
        self.used: set[int] = set()
        self._dependent: set[int] = set()
        self._expanded: set[tuple[object, ...]] = set()

    def start(self, inputs: Iterable[Tensor]) -> None:
        """Dependence starts at these tensors."""
        self._dependent.update(storage_of(tensor) for tensor in inputs)

    def spread(self, operator: Operator, operands: Sequence[Tensor], out: object) -> bool:
        """Mark the results of a call; True if none of its operands depends on the input."""
        storages = [storage_of(tensor) for tensor in operands]
        self.used.update(storages)
        held = not self._dependent.isdisjoint(storages)
        dependent = held or (bool(self._expanded) and any(_view_key(tensor) in self._expanded for tensor in operands))
        results = [out] if isinstance(out, Tensor) else out if isinstance(out, (tuple, list)) else ()
        tensors = [result for result in results if isinstance(result, Tensor)]
        if operator.view:
            if not held and (dependent or _grows(operator, operands, tensors)):
                self._expanded.update(_view_key(tensor) for tensor in tensors)
        elif dependent or operator.creates:
            self._dependent.update(storage_of(tensor) for tensor in tensors)
        else:
            self._dependent.difference_update(storage_of(tensor) for tensor in tensors)
        return not dependent


def _grows(operator: Operator, operands: Sequence[Tensor], results: Sequence[Tensor]) -> bool:
    return operator.expands and results[0].numel() > operands[0].numel()


def _view_key(tensor: Tensor) -> tuple[object, ...]:
    return (storage_of(tensor), tensor.shape, tensor.stride())
