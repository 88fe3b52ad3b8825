"""Energy of a call on machines whose power is known: arithmetic, wrap-around and refusals."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convbench.errors import MeasurementError, UsageError
from convbench.measures.energy import Energy, EnergySettings, Nvml, Rapl, measure_energy


class Machine:
    """A device of known power on which time passes in calls and in sleep only; its counter steps every ``step_s``."""

    name = "the counter of the test"

    def __init__(self, idle_w: float, busy_w: float, step_s: float = 0.0) -> None:
        self.idle_w, self.busy_w, self.step_s = idle_w, busy_w, step_s
        self.now = 0.0
        self.joules = 0.0
        self.others: str | None = None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self._pass(seconds, self.idle_w)

    def call(self, seconds: float) -> Callable[[], None]:
        return lambda: self._pass(seconds, self.busy_w)

    def _pass(self, seconds: float, watts: float) -> None:
        self.now += seconds
        self.joules += watts * seconds

    def read_j(self) -> float:
        behind = self.now % self.step_s if self.step_s else 0.0
        return self.joules - behind * self.busy_w if behind else self.joules

    def company(self) -> str | None:
        return self.others

    def measure(self, call: Callable[[], object], **settings: Any) -> Energy:
        return measure_energy(call, self, EnergySettings(**settings), clock=self.clock, sleep=self.sleep)


def test_the_energy_of_a_call_is_its_time_at_the_power_above_idle() -> None:
    """10 ms at 50 W − 20 W are 300 mJ."""
    machine = Machine(idle_w=20, busy_w=50)
    found = machine.measure(machine.call(0.01), windows=3, window_s=1.0)
    assert found.energy_mj == pytest.approx(300)
    assert (found.energy_low_mj, found.energy_high_mj) == (pytest.approx(300), pytest.approx(300))
    assert (found.power_w, found.idle_power_w) == (pytest.approx(50), pytest.approx(20))
    assert found.windows == 3
    assert found.calls >= 3 * 100
    assert found.counter == "the counter of the test"
    assert not found.notes


def test_a_call_longer_than_a_window_is_still_made_three_times() -> None:
    machine = Machine(idle_w=5, busy_w=105)
    found = machine.measure(machine.call(7.0), windows=2, window_s=1.0)
    assert found.calls == 6
    assert found.energy_mj == pytest.approx(700_000)


def test_a_counter_that_steps_is_spread_over_the_window() -> None:
    """Steps of 100 ms at either end of 2 s: at most 5%, and the median of several windows less."""
    machine = Machine(idle_w=10, busy_w=110, step_s=0.1)
    found = machine.measure(machine.call(0.00303), windows=5, window_s=2.0)
    assert found.energy_mj == pytest.approx(303, rel=0.06)
    assert found.energy_low_mj <= found.energy_mj <= found.energy_high_mj


def test_what_takes_no_more_than_idle_has_no_figure() -> None:
    machine = Machine(idle_w=20, busy_w=20)
    with pytest.raises(MeasurementError, match=r"no more than the idle device's 20\.0 W"):
        machine.measure(machine.call(0.01), windows=2, window_s=1.0)


def test_beside_others_there_is_no_figure() -> None:
    machine = Machine(idle_w=20, busy_w=50)
    machine.others = "2 other processes on the GPU"
    with pytest.raises(MeasurementError, match="2 other processes on the GPU: the counter counts whatever runs"):
        machine.measure(machine.call(0.01), windows=2, window_s=1.0)


def test_idle_power_that_moved_is_said() -> None:
    machine = Machine(idle_w=20, busy_w=50)
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        machine.idle_w = 30 if calls > 100 else 20
        machine.call(0.01)()

    found = machine.measure(call, windows=2, window_s=1.0)
    assert found.idle_power_w == pytest.approx(25)
    assert found.notes == ("idle power moved by 40% while the calls ran",)


def test_the_device_is_waited_for_before_a_window_ends() -> None:
    machine, queued = Machine(idle_w=20, busy_w=50), []

    def synchronise() -> None:
        machine.call(0.01 * len(queued))()
        queued.clear()

    settings = EnergySettings(windows=2, window_s=1.0)
    found = measure_energy(
        lambda: queued.append(1), machine, settings, synchronise=synchronise, clock=machine.clock, sleep=machine.sleep
    )
    assert found.energy_mj == pytest.approx(300)


@pytest.mark.parametrize("wrong", [{"windows": 1}, {"window_s": 0.1}, {"idle_s": float("nan")}])
def test_settings_that_give_no_figure_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="energy needs"):
        EnergySettings(**wrong)


class Powercap:
    """A folder of RAPL zones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def zone(self, place: str, domain: str, microjoules: int, most: int = 10**9) -> Path:
        zone = self.folder / place
        zone.mkdir()
        (zone / "name").write_text(f"{domain}\n")
        (zone / "energy_uj").write_text(f"{microjoules}\n")
        (zone / "max_energy_range_uj").write_text(f"{most}\n")
        return zone


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def test_packages_and_memory_are_added_and_their_parts_are_not(powercap: Powercap) -> None:
    zones = [
        powercap.zone("intel-rapl:0", "package-0", 5),
        powercap.zone("intel-rapl:0:0", "core", 7),
        powercap.zone("intel-rapl:0:1", "dram", 11),
        powercap.zone("intel-rapl:1", "package-1", 13),
        powercap.zone("intel-rapl:2", "psys", 17),
    ]
    counter = Rapl(powercap.folder)
    before = counter.read_j()
    for zone in zones:
        (zone / "energy_uj").write_text(str(int((zone / "energy_uj").read_text()) + 1_000_000))
    assert counter.read_j() - before == pytest.approx(3.0)
    assert counter.name == "RAPL, package and dram"


def test_a_register_that_starts_again_goes_on(powercap: Powercap) -> None:
    register = powercap.zone("intel-rapl:0", "package-0", 999_500_000) / "energy_uj"
    counter = Rapl(powercap.folder)
    readings = []
    for value in (999_900_000, 100_000, 700_000, 300_000):
        register.write_text(str(value))
        readings.append(counter.read_j())
    assert readings == pytest.approx([0.4, 0.6, 1.2, 1000.8])


def test_a_machine_without_counters_says_so(powercap: Powercap) -> None:
    with pytest.raises(MeasurementError, match="no energy counter"):
        Rapl(powercap.folder)


def test_counters_for_root_alone_say_how_to_open_them(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    register = powercap.zone("intel-rapl:0", "package-0", 5) / "energy_uj"
    real = Path.read_text

    def read_text(path: Path) -> str:
        if path == register:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(MeasurementError, match=r"energy_uj can be read by root alone: chmod a\+r it, or run as root"):
        Rapl(powercap.folder)


def test_others_that_keep_cores_busy_are_company(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5)
    assert Rapl(powercap.folder, other_cores=lambda: 0.05).company() is None
    assert Rapl(powercap.folder, other_cores=lambda: 1.5).company() == "other processes kept 1.5 cores busy"


class FakeNvml:
    """A driver of one board. ``processes``: those that have a context on it."""

    class NVMLError(Exception):
        """What the real module raises."""

    def __init__(self, millijoules: int | None = 1000, divided: bool | None = False) -> None:
        self.millijoules, self.divided = millijoules, divided
        self.processes: list[int] = []
        self.asked: list[str] = []

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:  # noqa: N802
        if self.divided is None:
            raise self.NVMLError("Not Supported")
        return int(self.divided), int(self.divided)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if self.millijoules is None:
            raise self.NVMLError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self.processes]


@pytest.mark.parametrize("divided", [False, None])
def test_nvml_counts_millijoules_of_the_board_with_that_uuid(divided: bool | None) -> None:
    driver = FakeNvml(divided=divided)
    counter = Nvml(driver, "0a1b")
    before = counter.read_j()
    driver.millijoules = 3500
    assert counter.read_j() - before == pytest.approx(2.5)
    assert driver.asked == ["GPU-0a1b"]


def test_a_divided_board_has_no_figure() -> None:
    with pytest.raises(MeasurementError, match="MIG"):
        Nvml(FakeNvml(divided=True), "GPU-0a1b")


def test_a_board_that_does_not_count_says_so() -> None:
    with pytest.raises(MeasurementError, match="no energy counter"):
        Nvml(FakeNvml(millijoules=None), "GPU-0a1b")


def test_other_contexts_are_company_and_our_own_is_not() -> None:
    driver = FakeNvml()
    counter = Nvml(driver, "GPU-0a1b")
    driver.processes = [os.getpid()]
    assert counter.company() is None
    driver.processes = [4711]  # ours, as the host numbers it
    assert counter.company() is None
    driver.processes = [os.getpid(), 4711]
    assert counter.company() == "1 other process on the GPU"
