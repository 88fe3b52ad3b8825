"""A device by its own index, on a stand-in of torch's modules that has two, of which the first is the present one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from convbench.execution.device import Device, device_name, synchronise, use_one_precision
from convbench.measures import peaks
from convbench.measures.latency.timing.accelerator import TorchAccelerator


class StandIn:
    """As much of ``torch.cuda`` or ``torch.xpu`` as a device asks for; without an index it means the present device."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []
        self.dead: set[int] = set()
        self._sleep = lambda cycles: self.log.append(f"sleep {self.now}")

    def _index(self, device: Any) -> int:
        return self.now if device is None or torch.device(device).index is None else torch.device(device).index

    def synchronize(self, device: Any = None) -> None:
        self.log.append(f"wait {self._index(device)}")
        if self._index(device) in self.dead:
            raise RuntimeError("CUDA error: device-side assert triggered")

    def set_device(self, device: Any) -> None:
        self.now = self._index(device)

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before, self.now = self.now, self._index(device)
        try:
            yield
        finally:
            self.now = before

    def current_stream(self, device: Any = None) -> str:
        return f"stream {self._index(device)}"

    def get_device_name(self, device: Any = None) -> str:
        return f"Card {self._index(device)}"

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(L2_cache_size=1000 + self._index(device))

    def Event(self, enable_timing: bool = False) -> Any:  # noqa: N802
        assert enable_timing
        made_on = self.now

        def record(stream: str | None = None) -> None:
            self.log.append(f"{stream or self.current_stream()}, event of {made_on}")

        return SimpleNamespace(record=record)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(torch, "get_device_module", lambda device: made)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: made.log.append("wait mps"))
    return made


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", []),
        ("meta", []),
        ("cuda:1", ["wait 1"]),
        ("xpu:1", ["wait 1"]),
        ("cuda", ["wait 0"]),
        ("mps", ["wait mps"]),
    ],
)
def test_the_device_that_was_named_is_waited_for(module: StandIn, device: str, expected: list[str]) -> None:
    synchronise(device)
    assert module.log == expected


def test_whoever_times_waits_for_the_device_it_times(module: StandIn) -> None:
    peaks._timed(lambda: torch.zeros(1), torch.device("cuda:1"))
    TorchAccelerator("xpu:1").synchronise()
    assert module.log == ["wait 1", "wait 1"]


@pytest.mark.parametrize("name", ["cuda:1", "xpu:1"])
def test_events_are_recorded_on_the_stream_of_the_device_that_was_named(module: StandIn, name: str) -> None:
    device = Device(name)
    device.record(device.event())
    device.sleep(1000)
    assert module.log == ["stream 1, event of 1", "sleep 1"]
    assert module.now == 0


def test_a_device_that_cannot_be_told_to_wait_says_so(module: StandIn) -> None:
    del module._sleep
    assert not Device("xpu:1").sleep(1000)


@pytest.mark.parametrize(("device", "present"), [("cpu", 0), ("meta", 0), ("cuda", 0), ("cuda:1", 1), ("xpu:1", 1)])
def test_a_device_with_an_index_becomes_the_present_one(module: StandIn, device: str, present: int) -> None:
    Device(device).use()
    assert module.now == present


def test_what_is_told_is_of_the_device_that_was_named(module: StandIn) -> None:
    assert (device_name("cuda:1"), device_name("xpu:1"), device_name("cuda")) == ("Card 1", "Card 1", "Card 0")
    assert Device("cuda:1").told("L2_cache_size") == 1001
    assert device_name("meta") == "none (shapes only)"


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, AttributeError, NotImplementedError])
def test_what_torch_does_not_tell_is_none(module: StandIn, error: type[Exception]) -> None:
    """``pci_domain_id`` is missing in torch 2.6 and 2.7, ``uuid`` on some back ends; a driver may answer nothing."""
    assert Device("cuda:1").told("pci_domain_id") is None
    assert Device("cuda:1").uuid is None

    def fails(device: Any) -> None:
        raise error("Torch not compiled with CUDA enabled")

    module.get_device_properties = fails  # type: ignore[method-assign]
    assert Device("cuda:1").uuid is None


def test_a_lost_context_is_that_of_one_device(module: StandIn) -> None:
    module.dead.add(1)
    assert Device("cuda:0").works()
    assert not Device("cuda:1").works()
    assert Device("cpu").works()


@pytest.mark.parametrize(("products", "convolutions"), [("highest", False), ("high", True), ("medium", True)])
def test_convolutions_round_as_products_do(monkeypatch: pytest.MonkeyPatch, products: str, convolutions: bool) -> None:
    before = torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: products)
    try:
        use_one_precision()
        assert torch.backends.cudnn.allow_tf32 == convolutions
    finally:
        torch.backends.cudnn.allow_tf32 = before
