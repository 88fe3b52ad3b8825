"""Sizes that do not fit."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from convbench.case import Case
from convbench.errors import OutOfMemory
from convbench.execution import headroom
from convbench.execution.out_of_memory import is_out_of_memory
from convbench.measures.memory import measure_memory
from convbench.target.blueprint import Subject

MIB = 2**20


def subject(module: nn.Module, size: int = 64, **case: str) -> Subject:
    args = (torch.zeros(1, 4, size, size),)
    return Subject(Case("nothing", shapes=((1, 4, size, size),), **case), "x", "block", {}, module, args)  # type: ignore[arg-type]


def test_what_does_not_fit_is_traced_on_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
    fits = measure_memory(subject(module), high_water=False)
    monkeypatch.setattr(headroom, "budget_bytes", lambda: fits.peak_bytes - 1)
    monkeypatch.setattr(headroom, "limited", lambda _: torch.no_grad())
    tight = measure_memory(subject(module))
    assert tight.method == "storages (meta)"
    assert "does not fit" in tight.notes[0]
    assert replace(tight, method="storages", notes=()) == fits


def test_one_operator_that_asks_for_more_than_there_is_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Huge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 1) * x.reshape(1, -1)

    monkeypatch.setattr(headroom, "budget_bytes", lambda: 512 * MIB)
    before = resource.getrlimit(resource.RLIMIT_AS)
    memory = measure_memory(subject(Huge()))
    pixels = 4 * 64 * 64
    assert memory.peak_bytes == 4 * pixels + 4 * pixels**2 == 4 * pixels + 1024 * MIB
    assert memory.method == "storages (meta)"
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_autocast_that_does_not_fit_is_traced_on_fake_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "budget_bytes", lambda: 10**4)
    monkeypatch.setattr(headroom, "limited", lambda _: torch.no_grad())
    memory = measure_memory(subject(nn.Conv2d(4, 8, 1, bias=False), autocast="bfloat16"))
    assert memory.method == "storages (fake)"
    pixels = 64 * 64
    assert memory.activation_peak_bytes == 2 * 4 * pixels + 2 * 4 * 8 + 2 * 8 * pixels


def test_what_neither_fits_nor_runs_on_shapes_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat(1 + int((x == 0).sum() > 0), 1, 1, 1)

    monkeypatch.setattr(headroom, "budget_bytes", lambda: 1000)
    monkeypatch.setattr(headroom, "limited", lambda _: torch.no_grad())
    with pytest.raises(OutOfMemory, match=r"does not fit into 1000 bytes.*shapes alone.*--size"):
        measure_memory(subject(Counting()))


def test_other_errors_pass_through() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.zeros(3, 3)

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure_memory(subject(Broken()))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
