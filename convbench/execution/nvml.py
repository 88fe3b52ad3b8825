"""NVIDIA's management library: a GPU by its UUID, which is the same whatever CUDA_VISIBLE_DEVICES says. No torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def handle_of(nvml: Any, uuid: str) -> Any:
    """NVML's handle of a GPU; torch leaves out the prefix that NVML wants."""
    return nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")


def driver_of(uuid: str | None) -> tuple[str | None, float | None]:
    """Version of NVIDIA's driver, and the power in watts that a GPU may take; None where NVML does not tell."""
    try:
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        driver = str(nvml.nvmlSystemGetDriverVersion())
        return driver, nvml.nvmlDeviceGetEnforcedPowerLimit(handle_of(nvml, uuid or "")) / 1000
    except Exception:  # NVMLError is known only once pynvml is there
        return None, None
