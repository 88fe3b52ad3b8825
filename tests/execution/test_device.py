"""Waiting for a device, and choosing it, by its index: on a machine with two, that only remembers what it was asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from convbench.execution.device import synchronise, use_device
from convbench.measures import peaks
from convbench.measures.latency.timing.accelerator import TorchAccelerator


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which device was waited for or chosen. Asked without an index, torch takes the present one, number 0."""
    asked: list[str] = []
    module = SimpleNamespace(
        synchronize=lambda device=None: asked.append(f"wait {device or 'present'}"),
        set_device=lambda device: asked.append(f"use {device}"),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: asked.append("wait mps"))
    return asked


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", []),
        ("cuda:1", ["wait cuda:1"]),
        ("xpu:1", ["wait xpu:1"]),
        ("cuda", ["wait cuda"]),
        ("mps", ["wait mps"]),
    ],
)
def test_the_device_that_was_named_is_waited_for(waited: list[str], device: str, expected: list[str]) -> None:
    synchronise(device)
    assert waited == expected


def test_whoever_times_waits_for_the_device_it_times(waited: list[str]) -> None:
    peaks._timed(lambda: torch.zeros(1), torch.device("cuda:1"))
    TorchAccelerator("xpu:1").synchronize()
    assert waited == ["wait cuda:1", "wait xpu:1"]


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", []), ("meta", []), ("cuda", []), ("cuda:1", ["use cuda:1"]), ("xpu:1", ["use xpu:1"])],
)
def test_a_device_with_an_index_becomes_the_present_one(waited: list[str], device: str, expected: list[str]) -> None:
    use_device(device)
    assert waited == expected
