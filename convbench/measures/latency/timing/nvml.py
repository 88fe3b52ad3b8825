"""What NVML tells of an NVIDIA GPU: its clock against the default one, what holds it back, who else uses it."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

_SLOWEST = 0.75  # of the default clock: below, a chunk is not comparable with the others

# Bits of nvmlClocksThrottleReasons that slow a busy GPU down; idle and application settings are not among them.
_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True, slots=True)
class GpuState:
    """One reading. Clocks in MHz, power in watts, temperature in °C; None where the GPU does not tell.

    other_processes: compute processes on it besides this one.
    """

    clock_mhz: int | None
    default_clock_mhz: int | None
    reasons: tuple[str, ...]
    power_w: float | None
    temperature_c: int | None
    other_processes: int

    @property
    def throttled(self) -> bool:
        """Whether the clock is under 75% of its default."""
        if self.clock_mhz is None or not self.default_clock_mhz:
            return False
        return self.clock_mhz < _SLOWEST * self.default_clock_mhz


class GpuMonitor:
    """Reads one GPU by its UUID, which is the same whatever CUDA_VISIBLE_DEVICES says."""

    def __init__(self, uuid: str) -> None:
        self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        self._handle = handle_of(self._nvml, uuid)

    def read(self) -> GpuState:
        """The present state."""
        nvml, handle = self._nvml, self._handle
        mask = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        return GpuState(
            clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            default_clock_mhz=self._ask(nvml.nvmlDeviceGetDefaultApplicationsClock, handle, nvml.NVML_CLOCK_SM),
            reasons=tuple(name for bit, name in _REASONS.items() if mask & bit),
            power_w=None if power is None else power / 1000,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            other_processes=sum(process.pid != os.getpid() for process in processes),
        )

    def _ask(self, query: Any, *arguments: Any) -> Any:
        """None where this GPU or driver does not answer that question."""
        try:
            return query(*arguments)
        except self._nvml.NVMLError:
            return None


def handle_of(nvml: Any, uuid: str) -> Any:
    """NVML's handle of a GPU; torch leaves out the prefix that NVML wants."""
    return nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")


def gpu_monitor(device: str) -> GpuMonitor | str:
    """A monitor of the CUDA device ``device``, or the reason why there is none."""
    import torch

    properties: Any = torch.cuda.get_device_properties(torch.device(device))
    try:
        return GpuMonitor(str(properties.uuid))
    except ModuleNotFoundError:
        return "clocks and throttling were not watched: pip install 'convbench[gpu]'"
    except Exception as error:  # NVMLError is known only once pynvml is there
        return f"clocks and throttling were not watched: {error}"
