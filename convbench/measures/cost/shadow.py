"""A module's double that can be run without touching the module: same structure and attributes, other tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from convbench.measures.cost.doubler import CopyTensor, Doubler

Method = Literal["meta", "fake", "real"]


def meta_copy(tensor: Tensor) -> Tensor:
    """A tensor of the same sizes, strides and dtype without storage."""
    if tensor.layout is not torch.strided:
        return tensor.detach().to("meta")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def real_copy(tensor: Tensor) -> Tensor:
    """A copy of the values."""
    return tensor.detach().clone()


def fake_copy(tensor: Tensor) -> Tensor:
    """A fake tensor on the tensor's own device (the CPU for a meta tensor); to be called under the fake mode."""
    device = torch.device("cpu") if tensor.is_meta else tensor.device
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


@contextmanager
def doubling(method: Method) -> Iterator[CopyTensor]:
    """How tensors are doubled for a method; the mode that such tensors need is active meanwhile."""
    if method == "fake":
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True):
            yield fake_copy
    else:
        yield meta_copy if method == "meta" else real_copy


def registered_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, each once."""
    seen = set()
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def shadow(module: nn.Module, copy_tensor: CopyTensor) -> nn.Module:
    """The module's double, with parameters and buffers made by ``copy_tensor``.

    Everything that a forward pass could change is the double's own: tensors, attributes, hook tables, containers, what
    its functions have captured. Unregistered tensors are copied with their values. What cannot be copied (a lock, a
    file) is shared.
    """
    return Doubler(copy_tensor).double(module)


def shadow_inputs(inputs: Any, copy_tensor: CopyTensor, *, input_grad: bool) -> tuple[Any, tuple[Tensor, ...]]:
    """Arguments with every tensor replaced, and the leaves to differentiate by.

    With ``input_grad`` floating inputs are results of an operator on a leaf, as a block's input in a network is: the
    module may change them in place.
    """
    leaves: list[Tensor] = []

    def double(tensor: Tensor) -> Tensor:
        made = copy_tensor(tensor)
        if not (input_grad and (made.is_floating_point() or made.is_complex())):
            return made
        leaves.append(made.requires_grad_())
        with torch.enable_grad():
            return made.clone()

    def replace(value: object) -> object:
        if isinstance(value, PackedSequence):  # its batch sizes are data that shapes depend on, and live on the CPU
            indices = (None if item is None else copy_tensor(item) for item in value[2:])
            return PackedSequence(double(value.data), value.batch_sizes.clone(), *indices)
        return double(value) if isinstance(value, Tensor) else value

    replaced = tree_map(replace, inputs, is_leaf=lambda value: isinstance(value, PackedSequence))
    return replaced, tuple(leaves)
