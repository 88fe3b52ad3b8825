"""Energy of one call: a counter of joules read around windows of seconds in which nothing but that call runs.

NVIDIA devices count the energy of the whole board since the driver was loaded (NVML, Volta and newer); processors count
that of their packages and memory (RAPL, which Linux shows under ``/sys/class/powercap``). Both advance in steps of 1 to
100 ms, so that a window lasts seconds. The power of the idle device is measured before and after, stated, and
subtracted: what is left is what the calls cost. A counter counts whatever runs on its device: beside other processes,
and on a slice of a GPU (MIG), there is no figure.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convbench.column import described
from convbench.errors import MeasurementError, MissingExtraError, UsageError
from convbench.execution.nvml import handle_of

if TYPE_CHECKING:
    from convbench.target.blueprint import Subject

POWERCAP = Path("/sys/class/powercap")
_BUSY_CORES = 0.1
"""So many cores kept busy by other processes are company: they add a watt or more to the package."""
_FEWEST_CALLS = 3
_LEAST = 0.01
"""Calls that add a smaller share to the idle power are lost in what that moves by itself."""
_STEADY = 0.2
"""Idle power before and after may differ by this share of their mean without a note."""


@dataclass(frozen=True, slots=True)
class EnergySettings:
    """How energy is measured. window_s: seconds of one window, long against the counter's step."""

    windows: int = 5
    window_s: float = 2.0
    idle_s: float = 1.0

    def __post_init__(self) -> None:
        if self.windows < 2 or not 0.5 <= self.window_s <= 600 or not 0.5 <= self.idle_s <= 600:
            raise UsageError("energy needs at least 2 windows, and windows of 0.5 to 600 s")


class Counter(Protocol):
    """Joules that a device has taken since some time in the past. ``name`` says which counter it is."""

    name: str

    def read_j(self) -> float:
        """The present reading, rising whatever the register behind it does."""

    def company(self) -> str | None:
        """What else runs on the device since the last time, in words, or None."""


class Nvml:
    """The total-energy counter of one NVIDIA device, known by its UUID whatever its number here."""

    name = "NVML total energy, whole board"

    def __init__(self, nvml: Any, uuid: str) -> None:
        """nvml: the module ``pynvml``, initialised. Raises MeasurementError where the device does not count."""
        self._nvml = nvml
        self._handle = handle_of(nvml, uuid)
        try:
            if nvml.nvmlDeviceGetMigMode(self._handle)[0]:
                raise MeasurementError("energy is counted for the whole board, and this GPU is divided (MIG)")
        except nvml.NVMLError:  # a card that cannot be divided
            pass
        try:
            self.read_j()
        except nvml.NVMLError as error:
            raise MeasurementError(f"this GPU has no energy counter ({error})") from error

    def read_j(self) -> float:
        """NVML counts millijoules since the driver was loaded."""
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def company(self) -> str | None:
        """Other processes with a context on the device."""
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        others = sorted({process.pid for process in running} - {os.getpid()})
        # In a container NVML tells the host's process ids: one process, and not ours, is then this one.
        if len(others) == 1 and len(running) == 1:
            return None
        plural = "es" if len(others) > 1 else ""
        return f"{len(others)} other process{plural} on the GPU" if others else None


class Rapl:
    """The energy counters of all processor packages and their memory."""

    def __init__(self, folder: Path = POWERCAP, other_cores: Callable[[], float] | None = None) -> None:
        """other_cores: how many cores others kept busy since last asked. Raises MeasurementError without counters."""
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if _counts(zone)]
        if not zones:
            raise MeasurementError(f"this processor has no energy counter under {folder}")
        self._registers = [_Register(zone) for zone in zones]
        kinds = dict.fromkeys(register.domain.partition("-")[0] for register in self._registers)
        self.name = f"RAPL, {' and '.join(kinds)}"
        self._other_cores = other_cores or _OtherCores()

    def read_j(self) -> float:
        """The sum of the registers."""
        return sum(register.read_j() for register in self._registers)

    def company(self) -> str | None:
        """Other processes that kept the processor busy."""
        cores = self._other_cores()
        return f"other processes kept {cores:.1f} cores busy" if cores > _BUSY_CORES else None


class _Register:
    """One zone's microjoules, which start again at zero after ``max_energy_range_uj``."""

    def __init__(self, zone: Path) -> None:
        self.domain = (zone / "name").read_text().strip()
        self._file = zone / "energy_uj"
        try:
            self._last = int(self._file.read_text())
        except PermissionError as error:
            raise MeasurementError(f"{self._file} can be read by root alone: chmod a+r it, or run as root") from error
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._total = 0

    def read_j(self) -> float:
        now = int(self._file.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6


def _counts(zone: Path) -> bool:
    """Packages and their memory. Cores and graphics are parts of a package, psys holds it, MMIO zones repeat it."""
    try:
        domain = (zone / "name").read_text().strip()
        return domain.startswith(("package", "dram")) and (zone / "energy_uj").exists()
    except OSError:
        return False


class _OtherCores:
    """Cores that other processes kept busy since the last call."""

    def __init__(self) -> None:
        self._before = self._now()

    def __call__(self) -> float:
        before, self._before = self._before, self._now()
        elapsed, busy, own = (new - old for new, old in zip(self._before, before, strict=True))
        return max(0.0, busy - own) / elapsed if elapsed > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        mine = psutil.Process().cpu_times()
        return time.monotonic(), sum(times) - idle - _guests(times), mine.user + mine.system


def _guests(times: Any) -> float:
    """Linux counts the time of virtual machines as user time as well."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


@dataclass(frozen=True, slots=True)
class Energy:
    """What one call takes from the device, beyond what the idle device takes.

    energy_mj: median over windows, millijoules; low, high: the smallest and the largest window. power_w: mean while
    calls run, idle power included; idle_power_w: before and after. calls: in all windows.
    """

    energy_mj: float = field(
        metadata=described(
            title="Energy",
            unit="mJ",
            convention="of one call, what the idle device takes subtracted; median over windows",
            show="number",
            summary="energy (mJ)",
        )
    )
    energy_low_mj: float = field(
        metadata=described(title="Energy, low", unit="mJ", convention="of the window that took least", show="number")
    )
    energy_high_mj: float = field(
        metadata=described(title="Energy, high", unit="mJ", convention="of the window that took most", show="number")
    )
    power_w: float = field(
        metadata=described(
            title="Power", unit="W", convention="mean while calls run, that of the idle device included", show="number"
        )
    )
    idle_power_w: float = field(
        metadata=described(
            title="Idle power", unit="W", convention="mean before and after the calls; subtracted", show="number"
        )
    )
    calls: int
    windows: int
    counter: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Window:
    seconds: float
    joules: float
    calls: int


def measure_energy(
    call: Callable[[], object],
    counter: Counter,
    settings: EnergySettings | None = None,
    *,
    synchronise: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Energy of ``call``: (joules − idle power · seconds) / calls of each window.

    synchronise: waits for the device; once a window, so that calls are queued as they are in use.
    Raises MeasurementError beside other processes, and where the calls take no more power than the idle device.
    """
    settings = settings or EnergySettings()
    call()
    synchronise()
    batch = _calls_in(0.05, call, synchronise, clock)
    counter.company()  # from here on
    before = _idle(counter, settings.idle_s, clock, sleep)
    windows = [_window(call, counter, settings.window_s, batch, synchronise, clock) for _ in range(settings.windows)]
    after = _idle(counter, settings.idle_s, clock, sleep)
    company = counter.company()
    if company is not None:
        raise MeasurementError(f"{company}: the counter counts whatever runs on the device; end it and measure again")
    return _energy(windows, before, after, counter.name)


def _calls_in(
    seconds: float, call: Callable[[], object], synchronise: Callable[[], object], clock: Callable[[], float]
) -> int:
    """How many calls take so long: the clock is read once in as many."""
    calls = 1
    while True:
        start = clock()
        for _ in range(calls):
            call()
        synchronise()
        if clock() - start >= seconds:
            return calls
        calls *= 2


def _idle(counter: Counter, seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> _Window:
    start, joules = clock(), counter.read_j()
    sleep(seconds)
    return _Window(clock() - start, counter.read_j() - joules, 0)


def _window(
    call: Callable[[], object],
    counter: Counter,
    seconds: float,
    batch: int,
    synchronise: Callable[[], object],
    clock: Callable[[], float],
) -> _Window:
    start, joules, calls = clock(), counter.read_j(), 0
    while calls < _FEWEST_CALLS or clock() - start < seconds:
        for _ in range(batch):
            call()
        synchronise()  # a queue that runs ahead of the device would end the window too soon
        calls += batch
    return _Window(clock() - start, counter.read_j() - joules, calls)


def _energy(windows: Sequence[_Window], before: _Window, after: _Window, counter: str) -> Energy:
    idle_w = (before.joules + after.joules) / (before.seconds + after.seconds)
    each = [1e3 * (window.joules - idle_w * window.seconds) / window.calls for window in windows]
    if any(window.joules < (1 + _LEAST) * idle_w * window.seconds for window in windows):
        raise MeasurementError(
            f"the calls take no more than the idle device's {idle_w:.1f} W, or its counter is too coarse: "
            "make the input larger"
        )
    apart = abs(before.joules / before.seconds - after.joules / after.seconds) / idle_w if idle_w else 0.0
    return Energy(
        energy_mj=statistics.median(each),
        energy_low_mj=min(each),
        energy_high_mj=max(each),
        power_w=sum(window.joules for window in windows) / sum(window.seconds for window in windows),
        idle_power_w=idle_w,
        calls=sum(window.calls for window in windows),
        windows=len(windows),
        counter=counter,
        notes=(f"idle power moved by {apart:.0%} while the calls ran",) if apart > _STEADY else (),
    )


def run(subject: Subject, settings: EnergySettings | None = None) -> Energy:
    """The measure of a built case, on the device that nothing else may use meanwhile."""
    import torch

    from convbench.execution.clone import cloning
    from convbench.execution.device import synchronise
    from convbench.execution.guard import guarded

    counter = counter_of(subject.case.device)  # before the module is copied: most machines have none
    with guarded(subject.case.device), cloning("real") as cloner:
        torch.set_num_threads(subject.case.threads)
        step = subject.step(cloner)

        def call() -> None:
            step.clear_gradients()
            step.run()

        wait = partial(synchronise, subject.case.device)
        return measure_energy(call, counter, settings, synchronise=wait)


def counter_of(device: str) -> Counter:
    """The counter behind a device. Raises MeasurementError where it has none that can be read."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return Rapl()
    if kind != "cuda":
        raise MeasurementError(f"no energy counter is known for {kind}: cpu has RAPL, NVIDIA's cuda NVML")
    import torch

    if torch.version.hip is not None:
        raise MeasurementError("no energy counter is known for ROCm: NVML is NVIDIA's")
    try:
        pynvml = import_module("pynvml")
    except ModuleNotFoundError as error:
        raise MissingExtraError("nvidia-ml-py", "gpu", "measuring energy") from error
    try:
        pynvml.nvmlInit()
        properties: Any = torch.cuda.get_device_properties(torch.device(device))
        return Nvml(pynvml, str(properties.uuid))
    except pynvml.NVMLError as error:
        raise MeasurementError(f"this GPU's counter cannot be read ({error})") from error
    except AttributeError as error:  # torch before 2.6 does not tell the UUID
        raise MeasurementError(f"torch does not tell which GPU {device} is: update it") from error
