"""The tensors of modules and arguments, and how one tensor is cloned: with its values, as a shape alone, or shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

How = Literal["real", "meta", "fake", "frozen"]


class RealTensors:
    """Copies of the values on their own device. Tensors that share a storage share its copy too."""

    def __init__(self) -> None:
        self._storages: dict[int, tuple[object, torch.UntypedStorage]] = {}

    def copy(self, tensor: Tensor) -> Tensor:
        """A leaf with the same shape, strides, dtype and place in its storage, without gradient or history."""
        if not is_plain(tensor):
            return self._opaque(tensor)
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:
            whole = self._whole(tensor, storage.nbytes())
            # The original is kept: another storage at the address of a freed one would pass for it.
            self._storages[storage._cdata] = storage, whole.untyped_storage()
            if whole.shape == tensor.shape and whole.stride() == tensor.stride() and whole.dtype == tensor.dtype:
                return whole
        target = self._storages[storage._cdata][1]
        view = torch.empty(0, dtype=tensor.dtype, device=target.device)
        return view.set_(target, tensor.storage_offset(), tensor.size(), tensor.stride())

    def device(self, tensor: Tensor) -> torch.device:
        """Where the clone of a tensor is."""
        return tensor.device

    def asks(self, parameter: Tensor) -> bool:
        """Whether the clone of a parameter asks for a gradient."""
        return parameter.requires_grad

    def _whole(self, tensor: Tensor, nbytes: int) -> Tensor:
        """A tensor over a copy of the whole storage: of the tensor's own shape where that is all of it."""
        if _fills(tensor, nbytes):
            return tensor.detach().clone(memory_format=torch.preserve_format)
        copied: torch.UntypedStorage = tensor.untyped_storage().clone()  # type: ignore[no-untyped-call]
        return torch.empty(0, dtype=tensor.dtype, device=copied.device).set_(copied, 0, (0,), (1,))

    def _opaque(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone()


class MetaTensors(RealTensors):
    """Shapes alone: there is no memory behind the clones."""

    def device(self, tensor: Tensor) -> torch.device:
        return torch.device("meta")

    def _whole(self, tensor: Tensor, nbytes: int) -> Tensor:
        if _fills(tensor, nbytes):
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        storage = torch.UntypedStorage(nbytes, device="meta")  # type: ignore[no-untyped-call]
        return torch.empty(0, dtype=tensor.dtype, device="meta").set_(storage, 0, (0,), (1,))

    def _opaque(self, tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        try:
            return tensor.detach().to("meta")
        except (RuntimeError, NotImplementedError):  # a layout without a meta form
            return tensor.detach().clone()


class FakeTensors(MetaTensors):
    """Shapes alone that take themselves for tensors of a device (the CPU for a meta tensor): autocast acts on them.

    Their mode has to be active while they are made and while they are used.
    """

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self._mode = mode

    def copy(self, tensor: Tensor) -> Tensor:
        from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

        with unset_fake_temporarily():  # torch 2.6 wraps no shape that is a fake tensor already
            shape = super().copy(tensor)
        return FakeTensor(self._mode, shape, torch.device("cpu") if tensor.is_meta else tensor.device)


class FrozenTensors(RealTensors):
    """Copies that ask for no gradient. Not the parameters themselves: a hook may write into their data."""

    def asks(self, parameter: Tensor) -> bool:
        return False


@contextmanager
def tensors_for(how: How) -> Iterator[RealTensors]:
    """How tensors are cloned; the mode that fake ones need is active meanwhile."""
    if how == "fake":
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            yield FakeTensors(mode)
    else:
        yield {"real": RealTensors, "meta": MetaTensors, "frozen": FrozenTensors}[how]()


def is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is its storage seen through shape and strides, and nothing else."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and torch._C._has_storage(tensor)
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )


def _fills(tensor: Tensor, nbytes: int) -> bool:
    """Whether the tensor is all of its storage, each element once."""
    if tensor.numel() * tensor.element_size() != nbytes:
        return False
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def registered_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, each once."""
    seen = set()
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def held_tensors(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers and every other tensor among the attributes of ``module`` and of the modules inside it."""
    found: dict[int, Tensor] = {}
    for part in module.modules():
        attributes = {name: value for name, value in vars(part).items() if name != "_modules"}
        found |= {id(leaf): leaf for leaf in tree_leaves(attributes) if isinstance(leaf, Tensor)}
    return list(found.values())


def tensors_in(value: object) -> tuple[Tensor, ...]:
    """Every tensor in nested lists, tuples and mappings, and in objects that keep tensors as attributes."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif not isinstance(leaf, (type, nn.Module)):
            found.extend(item for item in tree_leaves(_attributes(leaf)) if isinstance(item, Tensor))
    return tuple(found)


def _attributes(leaf: object) -> list[object]:
    if is_dataclass(leaf):
        return [getattr(leaf, item.name) for item in fields(leaf)]
    return list(getattr(leaf, "__dict__", {}).values())
