"""What NVML tells of an NVIDIA GPU: its clock against the full one, what holds it back, who else uses it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convbench.execution.nvml import handle_of

if TYPE_CHECKING:
    from convbench.execution.device import Device

_SLOWEST = 0.75  # of the full clock: below, a chunk is not comparable with the others

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

    full_clock_mhz: what the clock is held against: the default one, the highest where that is not told.
    other_processes: compute processes on it besides this one.
    """

    clock_mhz: int | None
    full_clock_mhz: int | None
    reasons: tuple[str, ...]
    power_w: float | None
    temperature_c: int | None
    other_processes: int

    @property
    def throttled(self) -> bool:
        """Whether the clock is under 75% of the full one."""
        if self.clock_mhz is None or not self.full_clock_mhz:
            return False
        return self.clock_mhz < _SLOWEST * self.full_clock_mhz


class GpuMonitor:
    """Reads one GPU by its UUID, which is the same whatever CUDA_VISIBLE_DEVICES says."""

    def __init__(self, uuid: str) -> None:
        self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        self._handle = handle_of(self._nvml, uuid)

    def read(self) -> GpuState:
        """The present state."""
        nvml = self._nvml
        # NVML 12 calls "clocks event reasons" what was "clocks throttle reasons"; either name may be missing.
        mask = self._ask("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        power = self._ask("nvmlDeviceGetPowerUsage")
        return GpuState(
            clock_mhz=self._ask("nvmlDeviceGetClockInfo", arguments=(nvml.NVML_CLOCK_SM,)),
            full_clock_mhz=self._ask(
                "nvmlDeviceGetDefaultApplicationsClock", "nvmlDeviceGetMaxClockInfo", arguments=(nvml.NVML_CLOCK_SM,)
            ),
            reasons=tuple(name for bit, name in _REASONS.items() if mask & bit),
            power_w=None if power is None else power / 1000,
            temperature_c=self._ask("nvmlDeviceGetTemperature", arguments=(nvml.NVML_TEMPERATURE_GPU,)),
            other_processes=others_on([one.pid for one in self._ask("nvmlDeviceGetComputeRunningProcesses") or ()]),
        )

    def _ask(self, *queries: str, arguments: Sequence[Any] = ()) -> Any:
        """The answer of the first query that this library has and this GPU answers; None where there is none."""
        for name in queries:
            query = getattr(self._nvml, name, None)
            if query is None:
                continue
            try:
                return query(self._handle, *arguments)
            except self._nvml.NVMLError:
                continue
        return None


def others_on(pids: Sequence[int]) -> int:
    """How many of the processes with a context on a GPU are not this one.

    In a container NVML tells the host's process ids, of which none is ours: one of them is this process all the same.
    """
    own = os.getpid()
    return sum(pid != own for pid in pids) if own in pids else max(0, len(pids) - 1)


def gpu_monitor(device: Device) -> GpuMonitor | str:
    """A monitor of a CUDA device, or the reason why there is none."""
    import torch

    if torch.version.hip is not None:
        return "clocks and throttling were not watched: NVML is NVIDIA's, and this is ROCm"
    uuid = device.uuid
    if uuid is None:
        return f"clocks and throttling were not watched: torch {torch.__version__} does not tell which GPU this is"
    try:
        return GpuMonitor(uuid)
    except ModuleNotFoundError:
        return "clocks and throttling were not watched: pip install 'convbench[gpu]'"
    except Exception as error:  # NVMLError is known only once pynvml is there
        return f"clocks and throttling were not watched: {error}"
