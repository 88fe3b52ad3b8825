"""Devices and dtypes by name."""

from __future__ import annotations

import torch

from convbench.errors import DeviceError
from convbench.machine import cpu_model


def require_device(device: str) -> None:
    """Raise DeviceError, naming what is present, when ``device`` is not on this machine."""
    kind, _, index = device.partition(":")
    if kind in ("cpu", "meta"):
        return
    present = available_devices()
    if not any(name.partition(":")[0] == kind for name in present):
        raise DeviceError(
            f"device {device!r} is not present: this torch {torch.__version__} sees {', '.join(present)}. "
            "`--device meta` gives params and cost of any size without computing"
        )
    if index and f"{kind}:{index}" not in present:
        raise DeviceError(f"device {device!r} is not present; there are {', '.join(present)}")


def available_devices() -> list[str]:
    """Every device that a case can name on this machine, ``meta`` last."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found += [f"xpu:{index}" for index in range(torch.xpu.device_count())]
    return [*found, "meta"]


def torch_dtype(name: str) -> torch.dtype:
    """``"float32"`` as ``torch.float32``."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def synchronise(device: torch.device | str) -> None:
    """Wait until ``device`` has done what was queued. Without its index torch would wait for the present one."""
    device = torch.device(device)
    if device.type == "mps":
        torch.mps.synchronize()  # there is but one
    elif device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


def use_device(device: str) -> None:
    """Make ``device`` the present one, to whose stream events and graphs are recorded; where it has an index."""
    if ":" in device and not device.startswith("meta"):
        torch.get_device_module(torch.device(device)).set_device(device)


def device_name(device: str) -> str:
    """What the hardware calls itself: the CPU's model, the accelerator's product name."""
    kind, _, index = device.partition(":")
    if kind == "cuda":
        return torch.cuda.get_device_name(int(index or 0))
    if kind == "xpu":
        return str(torch.xpu.get_device_name(int(index or 0)))
    if kind == "meta":
        return "none (shapes only)"
    return cpu_model()
