"""Measuring what this machine can do and how small a difference it can show; workers measure. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from convbench.calibration import Calibration, keep_calibration, require_place
from convbench.errors import DeviceError
from convbench.machine import machine, throttle_count
from convbench.measures.noise import NoiseFloor, measure_noise
from convbench.notation import timestamp
from convbench.workers.device_lock import device_lock, physical_device
from convbench.workers.environment import timing_environment
from convbench.workers.process import run_in_worker

Progress = Callable[[str], None]
MeasurePeaks = Callable[[str, int], "Peaks"]
MeasureNoise = Callable[[str, int, Callable[[Any], None]], "tuple[NoiseFloor, ...]"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """flops_per_s: by dtype; one that the device cannot multiply is missing. bytes_per_s: read and written together.

    copy_bytes: size of the array that was copied. timer_resolution_ns: shortest step of the clock that times calls;
    timer_cost_ns: time that reading it takes.
    """

    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    copy_bytes: int
    timer_resolution_ns: int
    timer_cost_ns: float


def calibrate(
    device: str = "cpu",
    threads: int = 1,
    *,
    progress: Progress = lambda _: None,
    note: Progress = lambda _: None,
    timeout_s: float | None = None,
    peaks: MeasurePeaks | None = None,
    noise: MeasureNoise | None = None,
    keep: bool = True,
) -> Calibration:
    """Measure peaks, clock and noise floor of ``device`` with ``threads`` threads, and keep them for this machine.

    The device is held against other measurements meanwhile; note: gets a line if it has to be waited for.
    timeout_s: seconds without a sign of life after which a measuring process is stopped.
    peaks, noise: how they are measured; by `measure_peaks` and `measure_noise` unless given.
    keep: write the result where `load_calibration` finds it.
    Raises UsageError for a device that is not there or more threads than idle cores, MeasurementError where nothing
    could be timed, OutputError where the result cannot be kept.
    """
    if device == "meta":
        raise DeviceError("there is nothing to calibrate on meta, where nothing is computed: use --device cpu")
    name = run_in_worker({"do": "convbench.measures.peaks:name_of", "device": device})
    if keep:
        require_place(device, threads, name)
    with device_lock(physical_device(device), note):
        found = _measured(
            device,
            threads,
            name,
            progress,
            peaks or partial(measure_peaks, timeout_s=timeout_s),
            noise or partial(measure_noise, timeout_s=timeout_s),
        )
    if keep:
        keep_calibration(found)
    return found


def measure_peaks(device: str = "cpu", threads: int = 1, seconds: float = 1.0, timeout_s: float | None = None) -> Peaks:
    """Peaks of ``device``, with ``threads`` threads on the CPU; ``seconds`` for each dtype and for the copy."""
    request = {"do": "convbench.measures.peaks:run", "device": device, "threads": threads, "seconds": seconds}
    return Peaks(**run_in_worker(request, env=timing_environment(threads), timeout_s=timeout_s))


def _measured(
    device: str, threads: int, name: str, progress: Progress, peaks: MeasurePeaks, noise: MeasureNoise
) -> Calibration:
    import psutil

    load, throttles, found = psutil.getloadavg()[0], throttle_count(), machine()
    progress("comparing a block with itself")
    floors = noise(device, threads, lambda state: progress(str(state)))
    progress("multiplying large matrices and copying large arrays")
    most = peaks(device, threads)
    after = throttle_count()
    return Calibration(
        machine=found.fingerprint,
        device=device,
        device_name=name,
        threads=threads,
        torch_version=version("torch"),
        created_at=timestamp(),
        **asdict(most),
        load_1m=round(load, 2),
        governor=found.governor,
        turbo=found.turbo,
        throttles=None if throttles is None or after is None else after - throttles,
        noise=tuple(asdict(floor) for floor in floors),
    )
