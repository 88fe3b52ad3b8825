"""Calibrations: measured, kept for one machine, and no other's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from convbench import calibration as calibrations
from convbench.calibration import Calibration, cache_folder, calibration_file, load_calibration
from convbench.errors import DeviceError, MeasurementError, OutputError
from convbench.measures import calibrate as calibrating
from convbench.measures import peaks as peak_measures
from convbench.measures.calibrate import Peaks, calibrate, measure_peaks
from convbench.measures.noise import NoiseFloor, measure_noise
from convbench.measures.noise_block import DepthwisePointwise
from convbench.measures.peaks import copy_bandwidth, copy_size, peak_flops, timer
from convbench.workers.worker import find_job

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask in this process what the device is called."""

    def ask(request: dict[str, Any]) -> Any:
        return find_job(request["do"])(request, lambda _: None)

    monkeypatch.setattr(calibrating, "run_in_worker", ask)


def fake_peaks(device: str, threads: int) -> Peaks:
    return Peaks({"float32": 1e11 * threads, "float64": 5e10}, 1e10, 2**28, 30, 60.5)


def fake_noise(device: str, threads: int, progress: Callable[[Any], None]) -> tuple[NoiseFloor, ...]:
    progress("process 1/5")
    return (
        NoiseFloor("1x64x8x8", 1.001, 0.998, 1.004, 0.01, "quiet", 0.013),
        NoiseFloor("1x64x56x56", 0.99, 0.97, 1.01, 0.02, "noisy", 0.04),
    )


def made(**arguments: Any) -> Calibration:
    return calibrate(peaks=fake_peaks, noise=fake_noise, **arguments)


def test_what_was_measured_is_found_again(home: Path) -> None:
    told: list[str] = []
    found = made(threads=2, progress=told.append)
    assert load_calibration(threads=2) == found
    assert calibration_file(threads=2).parent == home / "cache" / "convbench" / "calibrations"
    assert found.flops_per_s["float32"] == 2e11
    assert found.noise_floor == 0.04
    assert (found.torch_version, found.threads, found.device) == (torch.__version__.partition("+")[0], 2, "cpu")
    assert "process 1/5" in told


def test_each_number_of_threads_has_its_own() -> None:
    made(threads=1)
    assert load_calibration(threads=2) is None
    made(threads=2)
    assert load_calibration() != load_calibration(threads=2)


def test_other_hardware_and_another_torch_have_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    own = calibrations.machine()
    monkeypatch.setattr(calibrations, "version", lambda _: "1.0.0")
    assert load_calibration() is None
    monkeypatch.undo()
    monkeypatch.setattr(calibrations, "machine", lambda: replace(own, cpu="another"))
    assert load_calibration() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": 99, "machine": "x"}', "null"])
def test_a_file_that_is_broken_is_none(text: str) -> None:
    made()
    calibration_file().write_text(text)
    assert load_calibration() is None


def test_it_is_plain_json() -> None:
    found = made(keep=False)
    assert load_calibration() is None
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_notes_say_what_stands_against_it() -> None:
    found = made(keep=False)
    calm = replace(found, load_1m=0.1, governor="performance", turbo=False, throttles=0, noise=found.noise[:1])
    assert calm.notes == ()
    assert replace(calm, noise=()).noise_floor is None
    busy = replace(calm, load_1m=3.0, governor="powersave", turbo=True, throttles=2, noise=found.noise)
    assert [note.split(" ")[0] for note in busy.notes] == ["the", "the", "turbo", "cores", "at"]
    assert "load was 3" in busy.notes[0]
    assert "powersave" in busy.notes[1]
    assert "1x64x56x56" in busy.notes[4]


def test_a_device_that_is_not_there_is_no_measurement() -> None:
    with pytest.raises(DeviceError, match="not present"):
        calibrate("cuda:7", peaks=fake_peaks, noise=fake_noise)


def test_a_folder_that_cannot_be_written_is_said_before_measuring(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with pytest.raises(OutputError, match=r"cannot be kept .* set XDG_CACHE_HOME"):
        calibrate(peaks=lambda *_: pytest.fail("measured"), noise=lambda *_: pytest.fail("measured"))


@pytest.mark.parametrize(
    ("system", "platform", "variables", "expected"),
    [
        ("Linux", "linux", {}, ".cache/convbench"),
        ("Linux", "linux", {"XDG_CACHE_HOME": "relative"}, ".cache/convbench"),
        ("Darwin", "darwin", {}, "Library/Caches/convbench"),
        ("Windows", "win32", {}, "AppData/Local/convbench/Cache"),
    ],
)
def test_each_system_has_its_folder(
    system: str, platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(calibrations.platform, "system", lambda: system)
    monkeypatch.setattr(calibrations.sys, "platform", platform)
    assert cache_folder() == Path.home() / expected


def test_reading_one_imports_no_torch() -> None:
    code = (
        "import sys; from convbench.calibration import load_calibration\n"
        "load_calibration(); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_product_of_a_made_up_speed_gives_that_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """Every product of side n takes 2·n³/rate; the rate grows with n, as it does."""

        now = 0.0

        def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            side = a.shape[0]
            self.now += 2 * side**3 / (1e9 * side)
            return a

    clock = Clock()
    monkeypatch.setattr(peak_measures.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(peak_measures.torch, "mm", clock.product)
    # 2·n²/1e9 s passes 50 ms with n = 8192; the largest size on the CPU is 4096.
    assert peak_flops(torch.float32, CPU, 0.5) == pytest.approx(1e9 * 4096)


def test_a_dtype_without_products_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise RuntimeError('"addmm_impl_cpu_" not implemented for this dtype')

    monkeypatch.setattr(peak_measures.torch, "mm", refuse)
    assert peak_flops(torch.float16, CPU, 0.1) is None


def test_copies_are_larger_than_the_caches() -> None:
    assert copy_size({}) == 2**28
    assert copy_size({"L1": 2**15, "L3": 2**27}) == 2**29
    assert copy_size({"L3": 2**30}) == 2**30


def test_a_copy_counts_what_it_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_measures, "_fastest", lambda call, device, seconds: 0.5)
    assert copy_bandwidth(2**20, CPU, 1.0) == 2 * 2**20 / 0.5


def test_the_clock_has_a_step_and_a_cost() -> None:
    resolution, cost = timer()
    assert resolution >= 1
    assert cost > 0


def test_the_worker_measures_every_dtype_that_the_device_can_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_measures, "_LAST_SIDE", 512)
    monkeypatch.setattr(peak_measures, "copy_size", lambda _: 2**22)

    def in_this_process(request: dict[str, Any], env: dict[str, str], timeout_s: float | None) -> Any:
        assert env["OMP_NUM_THREADS"] == "1"
        return json.loads(json.dumps(find_job(request["do"])(json.loads(json.dumps(request)), lambda _: None)))

    monkeypatch.setattr(calibrating, "run_in_worker", in_this_process)
    found = measure_peaks(seconds=0.01)
    assert found.flops_per_s["float32"] > 1e8
    assert found.flops_per_s["float64"] > 1e8
    assert 1e8 < found.bytes_per_s < 1e13
    assert found.copy_bytes == 2**22


def comparison(ratio: Any, noise: str = "quiet", error: str | None = None) -> Any:
    latency = SimpleNamespace(noise=noise, error=error)
    return SimpleNamespace(latencies=(latency, latency), ratios=(None, ratio))


def test_the_floor_is_the_margin_and_half_the_interval() -> None:
    compared: list[Any] = []

    def compare(cases: Any, baseline: int, progress: Any = None) -> Any:
        compared.append((cases, baseline))
        return comparison(SimpleNamespace(ratio=1.0, low=1 / 1.02, high=1.02, margin=0.01))

    floors = measure_noise(threads=2, sizes=(8, 56), compare=compare)
    assert [floor.smallest_difference for floor in floors] == pytest.approx([1.01 * 1.02 - 1] * 2)
    assert [floor.input_shape for floor in floors] == ["1x64x8x8", "1x64x56x56"]
    for (first, second), baseline in compared:
        assert first == second
        assert baseline == 0
        assert first.threads == 2


def test_a_floor_that_cannot_be_timed_says_why() -> None:
    with pytest.raises(MeasurementError, match="noise floor could not be measured: gone"):
        measure_noise(sizes=(8,), compare=lambda *_, **__: comparison(None, error="gone"))


def test_the_block_that_is_compared_with_itself_can_be_built_by_name() -> None:
    from convbench.measures.noise import _BLOCK
    from convbench.target.blueprint import build

    block = build(_BLOCK, dim=8)
    assert isinstance(block, DepthwisePointwise)
    assert block(torch.zeros(1, 8, 5, 5)).shape == (1, 8, 5, 5)
