"""One measurement at a time on a device, over all of this user's processes on this machine. Imports no torch."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path

from filelock import FileLock, Timeout

from convbench.errors import MeasurementError
from convbench.workers.text import brief

LONGEST_WAIT_S = 3600.0

_LOOKS_S = 1.0  # who waits for a device must not disturb the one that measures on it
_HOLDER_BYTES = 4096


def physical_device(device: str) -> str:
    """The device that is occupied: ``cuda`` is the first one that this process may see.

    A GPU is known by its UUID where NVIDIA's library tells, so that it has one name whatever CUDA_VISIBLE_DEVICES says.
    """
    kind, _, index = device.partition(":")
    if kind in ("cpu", "meta"):
        return kind
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if kind == "cuda" else ""
    names = visible.split(",") if visible else []
    place = int(index or 0)
    name = names[place].strip() if place < len(names) else str(place)
    return f"{kind}:{_uuid(name) if kind == 'cuda' else name}"


def _uuid(name: str) -> str:
    """The UUID of the GPU of that number; the name itself where it is none, or where numbers may mean others.

    CUDA counts the fastest first and NVML as they are plugged in, which is the same where all are of one model.
    """
    if not name.isdigit():
        return name
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        alike = len({str(nvml.nvmlDeviceGetName(handle)) for handle in handles}) == 1
        if not alike and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            return name
        return str(nvml.nvmlDeviceGetUUID(handles[int(name)]))
    except Exception:  # no library, no driver, no such GPU; NVMLError is known only once pynvml is there
        return name


@contextmanager
def device_lock(
    device: str,
    tell: Callable[[str], None],
    stopping: threading.Event | None = None,
    limit_s: float = LONGEST_WAIT_S,
) -> Iterator[bool]:
    """Hold ``device`` against every other measurement; False if ``stopping`` was set while waiting.

    tell: gets a line once if it has to wait, which says for whom, or if nothing can be locked here.
    Raises MeasurementError that names the holder after ``limit_s`` seconds. The kernel takes the lock from a process
    that ends, however it ends.
    """
    with ExitStack() as stack:
        try:
            lock = _lock(device)
            held = _acquire(lock, device, tell, stopping or threading.Event(), limit_s)
        except (OSError, NotImplementedError) as error:
            tell(f"{device} cannot be locked against other measurements: {error}")
            held = True
        else:
            if held:
                stack.callback(lock.release)
                stack.enter_context(_signed(_holder(lock)))
        yield held


def _acquire(
    lock: FileLock, device: str, tell: Callable[[str], None], stopping: threading.Event, limit_s: float
) -> bool:
    until = time.monotonic() + limit_s
    told = False
    while not stopping.is_set():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if time.monotonic() >= until:
                raise MeasurementError(
                    f"{device} was not free within {limit_s:g} s: {_who(_holder(lock))} is measuring on it; "
                    "end that, or wait for it"
                ) from None
            if not told:
                tell(f"waiting for {device}: {_who(_holder(lock))} is measuring on it")
            told = True
            stopping.wait(min(_LOOKS_S, max(0.0, until - time.monotonic())))
        else:
            return True
    return False


def _lock(device: str) -> FileLock:
    folder = Path(tempfile.gettempdir()) / f"convbench-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return FileLock(folder / f"{re.sub(r'[^A-Za-z0-9._-]', '-', device)}.lock")


def _holder(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".holder")


def _user() -> str:
    """The name of this process's user, or the number of one that has no name, as in many containers."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
    except ImportError:
        import getpass

        return getpass.getuser()


@contextmanager
def _signed(holder: Path) -> Iterator[None]:
    """Have it stand beside the lock who holds it."""
    command = shlex.join([Path(sys.argv[0] or sys.executable).name, *sys.argv[1:]])
    signed = {"pid": os.getpid(), "command": brief(command, lines=1, characters=200), "since": time.time()}
    with suppress(OSError):
        holder.write_text(json.dumps(signed), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink()


def _who(holder: Path) -> str:
    """Who holds the lock, as far as that can be known."""
    try:
        with holder.open("rb") as file:
            signed = json.loads(file.read(_HOLDER_BYTES))
        since = time.strftime("%H:%M:%S", time.localtime(float(signed["since"])))
        who = f"process {int(signed['pid'])} ({signed['command']}, since {since})"
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return "another convbench"
    return brief(who, lines=1, characters=300)
