"""Watching a GPU while it is timed: chunks taken while it was held back do not count."""

from __future__ import annotations

from convbench.execution.device import Device
from convbench.measures.latency.timing.nvml import GpuMonitor, GpuState, gpu_monitor


class Watch:
    """Reads the monitor once a chunk. Without a monitor every chunk counts, and ``reason`` says why there is none."""

    def __init__(self, monitor: GpuMonitor | None, reason: str | None = None) -> None:
        self._monitor = monitor
        self._reason = reason
        self._states: list[GpuState] = []

    @classmethod
    def of(cls, device: Device) -> Watch:
        """The watch of ``device``: of NVIDIA GPUs alone."""
        if device.kind != "cuda":
            return cls(None)
        monitor = gpu_monitor(device)
        return cls(None, monitor) if isinstance(monitor, str) else cls(monitor)

    def chunk_is_trusted(self) -> bool:
        """Read the present state; False if the device runs under 75% of its full clock."""
        if self._monitor is None:
            return True
        self._states.append(self._monitor.read())
        return not self._states[-1].throttled

    def notes(self) -> tuple[str, ...]:
        """What the reader of the figures must know."""
        notes = [] if self._reason is None else [self._reason]
        if not self._states:
            return tuple(notes)
        clocks = [state.clock_mhz for state in self._states if state.clock_mhz is not None]
        if clocks:
            notes.append(f"SM clock {min(clocks)} to {max(clocks)} MHz, full {self._states[0].full_clock_mhz}")
        throttled = sum(state.throttled for state in self._states)
        reasons = sorted({reason for state in self._states for reason in state.reasons})
        if throttled:
            notes.append(f"{throttled} of {len(self._states)} chunks taken again: clock under 75% of the full one")
        if reasons:
            notes.append(f"held back by {', '.join(reasons)}")
        temperatures = [state.temperature_c for state in self._states if state.temperature_c is not None]
        powers = [state.power_w for state in self._states if state.power_w is not None]
        if temperatures and powers:
            notes.append(f"up to {max(temperatures)} °C, {max(powers):.0f} W")
        others = max(state.other_processes for state in self._states)
        if others:
            notes.append(f"{others} other process{'es' if others > 1 else ''} used the GPU meanwhile")
        return tuple(notes)
