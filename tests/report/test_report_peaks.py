"""Peaks travel with the records that this machine measured, and with no others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from convbench.calibration import Calibration
from convbench.machine import machine
from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.report.io.load import load
from convbench.report.plots import peaks
from convbench.report.plots.peaks import Peaks, known_peaks, with_calibrations
from tests.report.made_up_records import ENVIRONMENT, record

HERE = {**ENVIRONMENT, "machine": dataclasses.asdict(machine())}
MADE_UP = Calibration(
    machine=machine().fingerprint,
    device="cpu",
    device_name="Test CPU 1",
    threads=1,
    torch_version="2.14.1",
    created_at="2026-01-02T03:04:05Z",
    flops_per_s={"float32": 100e9, "bfloat16": 200e9},
    bytes_per_s=20e9,
    copy_bytes=2**28,
    timer_resolution_ns=1,
    timer_cost_ns=40.0,
    load_1m=0.0,
    governor=None,
    turbo=None,
    throttles=None,
)
PEAKS = {
    ("", "cpu", 1, "float32"): Peaks(100e9, 20e9),
    ("", "cpu", 1, "bfloat16"): Peaks(200e9, 20e9),
}


@pytest.fixture(autouse=True)
def calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {("cpu", 1): MADE_UP}
    monkeypatch.setattr(peaks, "load_calibration", lambda device, threads, _name: known.get((device, threads)))


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_peaks_travel_with_the_records(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"records{suffix}", Report([record()], HERE))
    assert known_peaks(load(tmp_path / f"records{suffix}")) == PEAKS


def test_a_page_draws_the_roof_of_the_machine_that_measured(tmp_path: Path) -> None:
    write(tmp_path / "page.html", Report([record(), record(threads=2)], HERE))
    page = (tmp_path / "page.html").read_text()
    assert page.count("peak 100 GFLOP/s") == 1  # of one thread; two were not calibrated
    assert page.count("convbench calibrate measures them") == 1


@pytest.mark.parametrize(
    "environment", [{}, ENVIRONMENT, {**HERE, "machine": {**HERE["machine"], "cpu": "Test CPU 2"}}]
)
def test_records_of_another_machine_get_no_peaks_of_this_one(environment: dict[str, object]) -> None:
    report = Report([record()], environment)
    assert with_calibrations(report) == report


def test_joined_environments_keep_their_own_peaks() -> None:
    parts = (Report([record()], ENVIRONMENT), Report([record()], HERE))
    joined = with_calibrations(Report([record(), record()], sources=parts))
    assert set(known_peaks(joined)) == {("B", "cpu", 1, "float32"), ("B", "cpu", 1, "bfloat16")}
