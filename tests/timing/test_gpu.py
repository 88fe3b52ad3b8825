"""The throttle rule, with an NVML that says what the test wants."""

from __future__ import annotations

import os
import sys
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from convbench.execution.device import Device
from convbench.measures.latency.timing.gpu import Watch
from convbench.measures.latency.timing.nvml import GpuMonitor, GpuState, gpu_monitor, others_on


class NvmlError(Exception):
    pass


class Nvml(ModuleType):
    """As much of pynvml as the monitor asks for; ``state`` is what it answers, exceptions are raised."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0
    NVMLError = NvmlError
    QUERIES = {  # noqa: RUF012
        "nvmlDeviceGetCurrentClocksEventReasons": "mask",
        "nvmlDeviceGetMaxClockInfo": "highest",
        "nvmlDeviceGetPowerUsage": "power",
        "nvmlDeviceGetComputeRunningProcesses": "processes",
        "nvmlDeviceGetClockInfo": "clock",
        "nvmlDeviceGetDefaultApplicationsClock": "default",
        "nvmlDeviceGetTemperature": "temperature",
    }

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.state: dict[str, Any] = {
            "clock": 1400,
            "default": 1410,
            "highest": 1980,
            "mask": 0,
            "power": 250_000,
            "temperature": 61,
            "processes": [],
        }
        self.nvmlInit = lambda: None
        self.asked: list[str] = []
        self.nvmlDeviceGetHandleByUUID = self.asked.append
        for query, key in self.QUERIES.items():
            setattr(self, query, partial(self._say, key))

    def _say(self, key: str, *_: object) -> Any:
        if isinstance(self.state[key], Exception):
            raise self.state[key]
        return self.state[key]


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid) for pid in pids]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    fake = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def properties(monkeypatch: pytest.MonkeyPatch, **told: object) -> None:
    """What torch tells of every GPU."""
    module = SimpleNamespace(get_device_properties=lambda device: SimpleNamespace(**told))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)


@pytest.mark.parametrize("uuid", ["0a1b-22", "GPU-0a1b-22"])
def test_a_gpu_is_found_by_its_uuid(nvml: Nvml, uuid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.6 and 2.7 have no ``pci_domain_id``."""
    properties(monkeypatch, uuid=uuid)
    assert isinstance(gpu_monitor(Device("cuda:1")), GpuMonitor)
    assert nvml.asked == ["GPU-0a1b-22"]


def test_properties_that_torch_does_not_tell_are_a_reason(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    properties(monkeypatch, name="x")
    assert "does not tell which GPU" in str(gpu_monitor(Device("cuda:0")))


def test_a_driver_that_fails_is_a_reason(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: object) -> None:
        raise RuntimeError("CUDA driver version is insufficient for CUDA runtime version")

    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(get_device_properties=fails))
    assert str(gpu_monitor(Device("cuda:0"))).startswith("clocks and throttling were not watched: ")


def test_rocm_has_no_nvml(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.2")
    properties(monkeypatch, uuid="0a1b-22")
    assert "ROCm" in str(gpu_monitor(Device("cuda:0")))
    assert nvml.asked == []


def test_an_older_library_is_asked_by_the_older_name(nvml: Nvml) -> None:
    del nvml.nvmlDeviceGetCurrentClocksEventReasons
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x40
    assert GpuMonitor("0a1b-22").read().reasons == ("hardware thermal slowdown",)


def test_where_the_default_clock_is_not_told_the_highest_is_the_full_one(nvml: Nvml) -> None:
    nvml.state |= {"default": NvmlError("not supported"), "clock": 1484}
    state = GpuMonitor("0a1b-22").read()
    assert (state.full_clock_mhz, state.throttled) == (1980, True)


@pytest.mark.parametrize(
    ("pids", "others"),
    [
        ([], 0),  # the context is not there yet
        ([os.getpid()], 0),
        ([os.getpid(), 5, 7], 2),
        ([40_001], 0),  # in a container: the host's number of this process
        ([40_001, 40_002], 1),
    ],
)
def test_ones_own_context_is_no_company(pids: list[int], others: int) -> None:
    assert others_on(pids) == others


def test_a_reading_has_units(nvml: Nvml) -> None:
    nvml.state |= {"mask": 0x4 | 0x1, "processes": processes(os.getpid(), 77)}
    assert GpuMonitor("0a1b-22").read() == GpuState(1400, 1410, ("power cap",), 250.0, 61, 1)


def test_what_a_gpu_does_not_tell_is_none(nvml: Nvml) -> None:
    nvml.state |= dict.fromkeys(
        ("clock", "default", "highest", "mask", "power", "temperature", "pids"), NvmlError("not supported")
    )
    state = GpuMonitor("0a1b-22").read()
    assert state == GpuState(None, None, (), None, None, 0)
    assert not state.throttled


@pytest.mark.parametrize(("clock", "throttled"), [(1410, False), (1058, False), (1057, True), (300, True)])
def test_under_three_quarters_of_the_default_clock_is_throttled(clock: int, throttled: bool) -> None:
    assert GpuState(clock, 1410, (), None, None, 0).throttled == throttled


def test_a_throttled_chunk_is_not_trusted_and_the_notes_say_why(nvml: Nvml) -> None:
    watch = Watch(GpuMonitor("0a1b-22"))
    assert watch.chunk_is_trusted()
    nvml.state |= {
        "clock": 600,
        "mask": 0x40,
        "temperature": 92,
        "power": 310_000,
        "processes": processes(os.getpid(), 77, 78),
    }
    assert not watch.chunk_is_trusted()
    text = "; ".join(watch.notes())
    for part in (
        "SM clock 600 to 1400 MHz, full 1410",
        "1 of 2 chunks taken again: clock under 75% of the full one",
        "hardware thermal slowdown",
        "92 °C, 310 W",
        "2 other processes used the GPU",
    ):
        assert part in text


def test_without_a_monitor_every_chunk_counts_and_the_reason_is_told() -> None:
    watch = Watch(None, "clocks and throttling were not watched: no driver")
    assert watch.chunk_is_trusted()
    assert watch.notes() == ("clocks and throttling were not watched: no driver",)


def test_other_devices_are_not_watched() -> None:
    watch = Watch.of(Device("cpu"))
    assert watch.chunk_is_trusted()
    assert watch.notes() == ()
