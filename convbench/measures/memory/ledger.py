"""The book of storages: which are alive, how large they are, who made them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from convbench.execution.modules import running_node
from convbench.measures.memory.result import EXISTING, WEIGHTS, LiveTensor, MemoryEvent, ModuleShare, Phase

Attribution = Callable[[], str]


@dataclass(slots=True)
class _Allocation:
    """A stretch of time in which a storage has one size.

    born, died: indices of events. node: sequence number of the autograd node that was being evaluated at birth.
    """

    tensor: LiveTensor
    born: int
    node: int | None
    died: int | None = None
    saved: bool = False
    reference: weakref.ref[torch.UntypedStorage] | None = None


@dataclass(frozen=True, slots=True)
class _Replacing:
    """A sum of gradients that is not counted yet: it may turn out to be made in place.

    key: of its storage. candidates: keys of the operands, one of which it replaces.
    """

    key: int
    total: _Allocation
    candidates: set[int]


class StorageLedger:
    """Every storage that was seen, when it was born and when it died. Holds none of them alive.

    module: gives the path of the running module. device_type: storages elsewhere are left out; None counts all.
    limit_bytes: MemoryError as soon as more is alive.
    """

    def __init__(self, module: Attribution, device_type: str | None = None, limit_bytes: int | None = None) -> None:
        self.phase: Phase = "forward"
        self.live_bytes = 0
        self.events: list[MemoryEvent] = []
        self.opaque: set[str] = set()
        self._module = module
        self._device_type = device_type
        self._limit_bytes = limit_bytes
        self._alive: dict[int, _Allocation] = {}
        self._history: list[_Allocation] = []
        self._replacing: _Replacing | None = None

    def hold(self, tensors: Iterable[Tensor], kind: str) -> int:
        """Count what is there before the call, as ``(weights)`` or ``(input)``; gives its bytes."""
        before = self.live_bytes
        for tensor in tensors:
            for storage in self._storages(tensor, kind):
                if storage._cdata not in self._alive:
                    self._add(storage, _describe(tensor, storage, kind, kind, None))
        return self.live_bytes - before

    def begin(self, phase: Phase) -> None:
        """Mark the start of a phase, by an event that changes nothing."""
        self.phase = phase
        self._event(f"({phase})", "", 0)

    def see(self, tensors: Iterable[Tensor], operator: str) -> None:
        """Count the storages of ``tensors`` that were not known, and the new size of those that were resized."""
        self.settle()
        change = 0
        module = self._module()
        for tensor in tensors:
            for storage in self._storages(tensor, operator):
                known = self._alive.get(storage._cdata)
                if known is None:
                    self._add(storage, _describe(tensor, storage, operator, module, self.phase))
                    change += storage.nbytes()
                elif known.tensor.bytes != storage.nbytes():
                    self._resize(storage, known)
        if change:
            self._event(operator, module, change)
        if self._limit_bytes is not None and self.live_bytes > self._limit_bytes:
            raise MemoryError(f"the call needs more than {self._limit_bytes} bytes")

    def accumulate(self, result: Tensor, operands: Iterable[Tensor], operator: str) -> None:
        """Count ``result``, a sum of gradients, as autograd makes it where no dispatch mode is active.

        It then adds in place to an operand that nobody else holds. Such an operand is one that an earlier node gave,
        as large as the result, and that is freed before anything else happens.
        """
        node = running_node()
        spent = {
            key
            for tensor in operands
            for key in (storage._cdata for storage in self._storages(tensor, operator))
            if key in self._alive and self._alive[key].node not in (None, node)
        }
        total = sum(storage.nbytes() for storage in self._storages(result, operator))
        candidates = {key for key in spent if self._alive[key].tensor.bytes == total}
        if not candidates:
            self.see([result], operator)
            return
        self.settle()
        storage = result.untyped_storage()
        self._add(storage, _describe(result, storage, operator, self._module(), self.phase))
        self.live_bytes -= total
        self._replacing = _Replacing(storage._cdata, self._alive[storage._cdata], candidates)

    def settle(self) -> None:
        """Count a sum of gradients whose operands have all stayed alive: it was no sum in place."""
        if self._replacing is None:
            return
        tensor = self._replacing.total.tensor
        self._replacing = None
        self.live_bytes += tensor.bytes
        self._event(tensor.operator, tensor.module, tensor.bytes)

    def save(self, tensor: Tensor) -> None:
        """Mark what autograd keeps for backward."""
        self.see([tensor], EXISTING)
        for storage in self._storages(tensor, EXISTING):
            self._alive[storage._cdata].saved = True

    def saved_bytes(self) -> int:
        """Bytes alive now that autograd keeps, weights excluded."""
        return sum(
            allocation.tensor.bytes
            for allocation in self._alive.values()
            if allocation.saved and allocation.tensor.operator != WEIGHTS
        )

    def bytes_of(self, tensors: Iterable[Tensor]) -> int:
        """Bytes of the storages of ``tensors``, each once."""
        unique = {storage._cdata: storage for tensor in tensors for storage in self._storages(tensor, "output")}
        return sum(storage.nbytes() for storage in unique.values())

    def peak(self, phase: Phase | None = None) -> MemoryEvent:
        """The first event of the highest allocation, of the call or of one phase of it."""
        events = (event for event in self.events if phase in (None, event.phase))
        return max(events, key=lambda event: event.live_bytes)

    def alive_at(self, index: int) -> list[LiveTensor]:
        """What was alive after event ``index``, largest first."""
        found = [
            allocation.tensor
            for allocation in self._history
            if allocation.born <= index and (allocation.died is None or allocation.died > index)
        ]
        return sorted(found, key=lambda tensor: -tensor.bytes)

    def close(self) -> None:
        """Stop listening: what is freed from now on is no part of the call."""
        self.settle()
        for allocation in self._alive.values():
            allocation.reference = None
        self._alive.clear()

    def _storages(self, tensor: Tensor, operator: str) -> Iterator[torch.UntypedStorage]:
        if self._device_type is not None and tensor.device.type != self._device_type:
            return
        parts = _parts(tensor)
        if parts is not None:
            for part in parts:
                yield from self._storages(part, operator)
        elif torch._C._has_storage(tensor):
            yield tensor.untyped_storage()
        else:
            self.opaque.add(operator)

    def _add(self, storage: torch.UntypedStorage, tensor: LiveTensor) -> None:
        key = storage._cdata
        allocation = _Allocation(tensor, born=len(self.events), node=running_node())
        allocation.reference = weakref.ref(storage, functools.partial(self._freed, key))
        self._alive[key] = allocation
        self._history.append(allocation)
        self.live_bytes += tensor.bytes

    def _resize(self, storage: torch.UntypedStorage, known: _Allocation) -> None:
        change = storage.nbytes() - known.tensor.bytes
        known.died = len(self.events)
        self.live_bytes -= known.tensor.bytes
        self._add(storage, replace(known.tensor, bytes=storage.nbytes()))
        self._alive[storage._cdata].saved = known.saved
        self._event(known.tensor.operator, known.tensor.module, change)

    def _freed(self, key: int, _reference: object) -> None:
        allocation = self._alive.pop(key, None)
        if allocation is None:
            return
        if self._replacing is not None and key in self._replacing.candidates:
            self._live_on(allocation, self._replacing)
            return
        allocation.died = len(self.events)
        tensor = allocation.tensor
        self.live_bytes -= tensor.bytes
        if tensor.bytes:
            self._event(tensor.operator, tensor.module, -tensor.bytes)

    def _live_on(self, allocation: _Allocation, replacing: _Replacing) -> None:
        """Let ``allocation`` go on in the storage of the sum: in place they are one."""
        assert self._history[-1] is replacing.total
        self._history.pop()
        allocation.reference = replacing.total.reference
        self._alive[replacing.key] = allocation
        self._replacing = None

    def _event(self, operator: str, module: str, change: int) -> None:
        self.events.append(MemoryEvent(len(self.events), operator, module, self.phase, change, self.live_bytes))


def _describe(
    tensor: Tensor, storage: torch.UntypedStorage, operator: str, module: str, phase: Phase | None
) -> LiveTensor:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return LiveTensor(storage.nbytes(), tuple(tensor.shape), dtype, operator, module, phase)


def by_module(alive: Iterable[LiveTensor]) -> tuple[ModuleShare, ...]:
    """What was alive, added up by the module that created it, largest first."""
    sizes: dict[str, list[int]] = {}
    for tensor in alive:
        sizes.setdefault(tensor.module, []).append(tensor.bytes)
    shares = [ModuleShare(module, sum(found), len(found)) for module, found in sizes.items()]
    return tuple(sorted(shares, key=lambda share: -share.bytes))


def _parts(tensor: Tensor) -> list[Tensor] | None:
    """The tensors that a composed one stands for: a wrapper subclass's, a sparse tensor's indices and values."""
    if is_traceable_wrapper_subclass(tensor):
        return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return None
