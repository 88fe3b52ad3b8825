"""Which operators and kernels one call runs: the same module runs others at another thread count or batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from convbench.execution.device import synchronise
from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call

# Operators that make or reinterpret tensors without arithmetic; what remains at the leaves names the kernels.
# fmt: off
_BOOKKEEPING = frozenset([
    "aten::_nnpack_available", "aten::_reshape_alias", "aten::_to_copy", "aten::_unsafe_view", "aten::alias",
    "aten::as_strided", "aten::as_strided_", "aten::broadcast_to", "aten::chunk", "aten::clone", "aten::contiguous",
    "aten::detach", "aten::detach_", "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::expand",
    "aten::expand_as", "aten::flatten", "aten::lift_fresh", "aten::movedim", "aten::narrow", "aten::new_empty",
    "aten::new_empty_strided", "aten::permute", "aten::reshape", "aten::resize_", "aten::resolve_conj",
    "aten::resolve_neg", "aten::result_type", "aten::select", "aten::set_", "aten::slice", "aten::split",
    "aten::split_with_sizes", "aten::squeeze", "aten::swapaxes", "aten::t", "aten::to", "aten::transpose",
    "aten::unbind", "aten::unflatten", "aten::unsqueeze", "aten::view", "aten::view_as",
])
# fmt: on
_HARMLESS = _BOOKKEEPING | {"aten::copy_", "aten::fill_", "aten::zero_"}


def kernels_of(call: Call, guard: Guard, device: str) -> tuple[str, ...]:
    """``name×calls`` of what one call runs, most frequent first: operators on the CPU, kernels on CUDA and XPU."""
    names = _accelerator_kernels(call, guard, device) if device.startswith(("cuda", "xpu")) else _operators(call, guard)
    return tuple(f"{name}×{count}" for name, count in Counter(names).most_common())


def _operators(call: Call, guard: Guard) -> list[str]:
    # torch.profiler takes 2 s to import and names the same operators.
    with guard(), torch.autograd.profiler.profile(use_kineto=False) as profile:
        call()
    events: Any = profile.function_events
    return [event.name for event in events if event.name not in _BOOKKEEPING and _is_leaf(event)]


def _is_leaf(event: Any) -> bool:
    """Whether nothing inside it does more than move data: a kernel may fill its own workspace by operators."""
    return all(child.name in _HARMLESS and _is_leaf(child) for child in event.cpu_children)


def _accelerator_kernels(call: Call, guard: Guard, device: str) -> list[str]:
    from torch.profiler import ProfilerActivity, profile

    activity = getattr(ProfilerActivity, device.partition(":")[0].upper())
    with guard(), profile(activities=[activity]) as profiled:
        call()
        synchronise(device)
    events: Any = profiled.events()
    return [event.name for event in events if str(event.device_type) != "DeviceType.CPU"]
