"""Throw-away copies of what is measured, so that the original stays as it was whatever happens to them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from convbench.errors import MeasurementError


class Copier:
    """Copies tensors, and modules with all that they hold; tensors that share a storage share its copy too."""

    def __init__(self) -> None:
        self._copies: dict[int, torch.UntypedStorage] = {}
        self._originals: list[torch.UntypedStorage] = []

    def tensor(self, tensor: Tensor) -> Tensor:
        """A copy with the same shape, strides and place in its storage, without gradient or history."""
        if not _plain(tensor):
            return copy.deepcopy(tensor.detach())
        storage = tensor.untyped_storage()
        if storage._cdata not in self._copies:
            self._originals.append(storage)
            self._copies[storage._cdata] = self._storage(storage)
        target = self._copies[storage._cdata]
        copied = torch.empty(0, dtype=tensor.dtype, device=target.device)
        return copied.set_(target, tensor.storage_offset(), tensor.size(), tensor.stride())

    def arguments(self, arguments: Any) -> Any:
        """A copy of nested arguments."""
        return tree_map_only(Tensor, self.tensor, arguments)

    def module(self, module: nn.Module) -> nn.Module:
        """A copy of ``module`` without gradients. What cannot be copied, a lock or a file, is shared.

        Raises MeasurementError where the module itself cannot be copied.
        """
        tensors = {id(tensor): self._held(tensor) for tensor in held_tensors(module) if _plain(tensor)}
        try:
            return copy.deepcopy(module, dict(tensors))
        except Exception:  # copying runs the target's own code
            return _copy_sharing(module, tensors)

    def _held(self, tensor: Tensor) -> Tensor:
        duplicate = self.tensor(tensor)
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(duplicate, requires_grad=tensor.requires_grad)
        return duplicate.requires_grad_(tensor.is_leaf and tensor.requires_grad)

    def _storage(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        copied: torch.UntypedStorage = storage.clone()  # type: ignore[no-untyped-call]
        return copied


class MetaCopier(Copier):
    """Copies shapes alone: there is no memory behind the copies."""

    def _storage(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        return torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]


class FakeCopier(MetaCopier):
    """Copies shapes alone, to tensors that take themselves for the CPU's: autocast does nothing on meta tensors."""

    def __init__(self) -> None:
        super().__init__()
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.mode = FakeTensorMode(allow_non_fake_inputs=True)

    def tensor(self, tensor: Tensor) -> Tensor:
        from torch._subclasses.fake_tensor import FakeTensor

        return FakeTensor(self.mode, super().tensor(tensor), torch.device("cpu"))


@contextmanager
def real_copies() -> Iterator[Copier]:
    """Copies on the device of the original."""
    yield Copier()


@contextmanager
def shapes_alone(autocast: bool) -> Iterator[Copier]:
    """Copies without memory, and the mode in which they run: meta tensors, under autocast fake ones."""
    if not autocast:
        yield MetaCopier()
        return
    copier = FakeCopier()
    with copier.mode:
        yield copier


def _copy_sharing(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy of ``module`` that shares those attributes that refuse to be copied."""
    for part in module.modules():
        for name, value in vars(part).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:  # copying runs the target's own code
                memo[id(value)] = value
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise MeasurementError(
            f"memory is traced on a copy, so that the module stays as it is, and this one cannot be copied: {error}"
        ) from error


def held_tensors(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers and every other tensor among the attributes of ``module`` and of the modules inside it."""
    found: dict[int, Tensor] = {}
    for part in module.modules():
        attributes = {name: value for name, value in vars(part).items() if name != "_modules"}
        found |= {id(leaf): leaf for leaf in tree_leaves(attributes) if isinstance(leaf, Tensor)}
    return list(found.values())


def _plain(tensor: Tensor) -> bool:
    """Whether the tensor is its storage seen through shape and strides, and nothing else."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and torch._C._has_storage(tensor)
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore the random states of torch, of the device, of NumPy and of Python."""
    own, arrays, on_cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    accelerator = torch.get_device_module(device) if device.type in ("cuda", "xpu", "mps") else None
    where = () if device.type == "mps" else (device,)  # there is but one
    on_device = None if accelerator is None else accelerator.get_rng_state(*where)
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)
        torch.set_rng_state(on_cpu)
        if accelerator is not None:
            accelerator.set_rng_state(on_device, *where)
