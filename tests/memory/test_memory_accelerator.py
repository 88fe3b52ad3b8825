"""Caching allocators, by one that keeps its books in the test."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from convbench.case import Case
from convbench.errors import OutOfMemory
from convbench.measures.memory import measure_memory
from convbench.measures.memory.accelerator import allocator_peak
from convbench.target.blueprint import Subject

DEVICE = torch.device("cuda:0")


class FakeAllocator:
    """Allocated and reserved bytes, as a caching allocator counts them."""

    def __init__(self, allocated: int = 0) -> None:
        self.allocated = self.peak = self.reserved = self.reserved_peak = allocated
        self.log: list[str] = []

    def take(self, size: int) -> None:
        self.allocated += size
        self.reserved = max(self.reserved, self.allocated)
        self.peak = max(self.peak, self.allocated)
        self.reserved_peak = max(self.reserved_peak, self.reserved)

    def give(self, size: int) -> None:
        self.allocated -= size

    def synchronize(self, device: torch.device) -> None:
        assert device == DEVICE
        self.log.append("synchronize")

    def empty_cache(self) -> None:
        self.reserved = self.allocated
        self.log.append("empty")

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak, self.reserved_peak = self.allocated, self.reserved
        self.log.append("reset")

    def memory_allocated(self, device: torch.device) -> int:
        return self.allocated

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def max_memory_reserved(self, device: torch.device) -> int:
        return self.reserved_peak


def test_the_peak_is_the_second_calls_and_keeps_what_the_first_left() -> None:
    allocator = FakeAllocator(allocated=1000)
    allocator.take(5000)
    allocator.give(5000)  # an earlier target's peak, and its cache
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            allocator.take(64)  # a library's workspace, for good
            allocator.take(700)  # trying algorithms
            allocator.give(700)
        allocator.take(300)
        allocator.give(100)
        allocator.log.append("call")

    def clear() -> None:
        allocator.give(200)
        allocator.log.append("clear")

    peak = allocator_peak(call, clear, DEVICE, allocator)
    assert peak.growth_bytes == 64 + 300
    assert peak.reserved_bytes == 64 + 300  # what was there before, the weights twice, is none of the call's
    assert allocator.log == [
        "empty", "synchronize", "call", "clear", "synchronize", "empty", "reset", "call", "synchronize", "clear",
    ]  # fmt: skip
    assert allocator.allocated == 1064


class Recorded(nn.Module):
    """Tells the allocator of its output and of a workspace of 100 bytes, where it is not being traced."""

    allocator: ClassVar[FakeAllocator]  # of the class: an instance's own would be cloned with it

    def __init__(self, allocator: FakeAllocator) -> None:
        super().__init__()
        type(self).allocator = allocator
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        size = x.nbytes + 100
        self.allocator.take(size)
        self.allocator.give(size)
        return x * 2


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeAllocator:
    """Measure as if the CPU's tensors were on CUDA, whose allocator is a fake."""
    allocator = FakeAllocator()
    monkeypatch.setattr("convbench.measures.memory.measure.allocator_of", lambda _: allocator)
    monkeypatch.setattr("convbench.measures.memory.measure.isolated", lambda _, **__: torch.no_grad())
    return allocator


def subject(module: nn.Module) -> Subject:
    case = Case("nothing", shapes=((1, 4, 8, 8),), device="cuda:0")
    return Subject(case, "x", "block", {}, module, (torch.ones(1, 4, 8, 8),))


def test_on_cuda_the_peak_has_the_workspace_in_it(on_cuda: FakeAllocator) -> None:
    memory = measure_memory(subject(Recorded(on_cuda)))
    assert memory.method == "cuda"
    assert memory.peak_bytes == 4 + 1024 + 1024 + 100
    assert memory.activation_peak_bytes == 1024 + 100
    assert memory.workspace_bytes == 100
    assert memory.high_water_bytes == memory.peak_bytes
    assert sum(share.bytes for share in memory.by_module) == memory.peak_bytes - 100


def test_a_compiled_call_has_no_workspace_to_tell_apart(
    on_cuda: FakeAllocator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    eager = subject(Recorded(on_cuda))
    memory = measure_memory(replace(eager, case=replace(eager.case, execution="compiled")))
    assert memory.workspace_bytes is None
    assert memory.notes[-1].startswith("by module: traced eagerly")


def test_out_of_memory_on_the_device_is_a_record(on_cuda: FakeAllocator) -> None:
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    with pytest.raises(OutOfMemory, match=r"cuda:0 ran out of memory: .*9 GiB"):
        measure_memory(subject(Full()))


def test_on_mps_storages_give_the_peak_and_what_is_not_seen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[torch.device] = []

    def kept(device: torch.device, **_: object) -> torch.no_grad:
        devices.append(device)
        return torch.no_grad()

    monkeypatch.setattr("convbench.measures.memory.measure.isolated", kept)
    elsewhere = subject(nn.ReLU())
    memory = measure_memory(replace(elsewhere, case=replace(elsewhere.case, device="mps")))
    assert devices == [torch.device("mps")]
    assert (memory.method, memory.peak_bytes) == ("storages", 2 * 1024)
    assert memory.high_water_bytes is memory.workspace_bytes is None
    assert memory.notes[-1].startswith("mps keeps no statistics of its peak")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_storages() -> None:
    case = Case("nothing", shapes=((1, 4, 512, 512),), device="cuda:0")
    args = (torch.ones(1, 4, 512, 512, device="cuda:0"),)
    memory = measure_memory(Subject(case, "x", "block", {}, nn.ReLU(), args))
    assert memory.peak_bytes == 2 * 4 * 4 * 512 * 512
    assert memory.workspace_bytes == 0
