"""Devices and dtypes by name."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

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


class Device:
    """One device by its own name, whatever the present one is.

    Asked without an index, torch takes the present device: for ``cuda:1`` it would wait for ``cuda:0``, and record
    events on its stream. Every call that names no tensor goes through here.
    """

    def __init__(self, name: torch.device | str) -> None:
        self.torch = torch.device(name)
        self.kind = self.torch.type

    @property
    def _module(self) -> Any:
        """``torch.cuda``, ``torch.xpu`` or ``torch.mps``."""
        return torch.get_device_module(self.torch)

    @property
    def is_accelerator(self) -> bool:
        """Whether it works beside the host, from a queue."""
        return self.kind not in ("cpu", "meta")

    def synchronise(self) -> None:
        """Wait until it has done what was queued."""
        if self.kind == "mps":
            torch.mps.synchronize()  # there is but one
        elif self.is_accelerator:
            self._module.synchronize(self.torch)

    def use(self) -> None:
        """Make it the present one, which graphs are captured and replayed on; where it has an index."""
        if self.is_accelerator and self.torch.index is not None:
            self._module.set_device(self.torch)

    def present(self) -> AbstractContextManager[Any]:
        """A context in which it is the present one."""
        found: AbstractContextManager[Any] = (
            self._module.device(self.torch) if self.kind in ("cuda", "xpu") else nullcontext()
        )
        return found

    def event(self) -> Any:
        """An event that knows the time; see `record`."""
        with self.present():
            return self._module.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        """Queue ``event`` behind what was queued here."""
        event.record(self._module.current_stream(self.torch))

    def sleep(self, cycles: int) -> bool:
        """Queue so many cycles of idling; False where the device cannot be told to."""
        spin = getattr(self._module, "_sleep", None)
        if spin is None:
            return False
        with self.present():
            spin(cycles)
        return True

    @property
    def name(self) -> str:
        """What the hardware calls itself: the CPU's model, the accelerator's product name."""
        if self.kind in ("cuda", "xpu"):
            return str(self._module.get_device_name(self.torch))
        return "none (shapes only)" if self.kind == "meta" else cpu_model()

    def told(self, name: str) -> Any:
        """A property of the hardware, such as ``uuid`` or ``L2_cache_size``.

        None where torch does not tell: versions, back ends and drivers differ in what they know.
        """
        try:
            return getattr(self._module.get_device_properties(self.torch), name, None)
        except (RuntimeError, AssertionError, AttributeError, NotImplementedError):
            return None

    @property
    def uuid(self) -> str | None:
        """The one name of a GPU that neither CUDA_VISIBLE_DEVICES nor the order of devices changes."""
        found = self.told("uuid")
        return None if found is None else str(found)

    def works(self) -> bool:
        """Whether it still answers. An illegal access or a failed assertion in a kernel ends the context: every later
        call of this process fails, whoever makes it."""
        try:
            self.synchronise()
        except RuntimeError:
            return False
        return True


def synchronise(device: torch.device | str) -> None:
    """Wait until ``device`` has done what was queued."""
    Device(device).synchronise()


def device_name(device: str) -> str:
    """What the hardware calls itself."""
    return Device(device).name


def use_one_precision() -> None:
    """Have convolutions round float32 as matrix products do.

    torch lets cuDNN's convolutions use TF32, 10 bits of mantissa instead of 23, and products not: one column would hold
    two precisions, against peaks of the products'. Who wants TF32 sets TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 for both.
    """
    torch.backends.cudnn.allow_tf32 = torch.get_float32_matmul_precision() != "highest"
