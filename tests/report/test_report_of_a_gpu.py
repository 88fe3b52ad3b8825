"""Records that were taken on a GPU, rendered where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convbench.records import Record
from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.report.tables.case import compare_table
from tests.report.made_up_records import ENVIRONMENT, record


@pytest.fixture
def gpu_records() -> list[Record]:
    rows = [record(target).to_row() for target in ("MRFA", "PyConv")]
    device = {"device": "cuda:1", "device_name": "NVIDIA H100", "device_latency_ms": 0.021, "launch_bound": "yes"}
    ratio = {"ratio": 1.2, "ratio_low": 1.1, "ratio_high": 1.3, "verdict": "slower", "margin": 0.01}
    replayed = {"device_ratio": 1.004, "device_ratio_low": 0.998, "device_ratio_high": 1.007, "device_verdict": "same"}
    return [Record.from_row({**rows[0], **device}), Record.from_row({**rows[1], **device, **ratio, **replayed})]


@pytest.mark.parametrize("suffix", [".html", ".tex", ".md"])
def test_reports_ask_no_device(
    gpu_records: list[Record], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    for name in ("get_device_properties", "get_device_name", "device_count", "current_device"):
        monkeypatch.setattr(torch.cuda, name, fails)
    write(tmp_path / f"gpu{suffix}", Report(gpu_records, ENVIRONMENT))
    text = (tmp_path / f"gpu{suffix}").read_text()
    assert any(latency in text for latency in ("0.021", "21.0"))  # ms in a page, µs in documents


def test_both_columns_have_their_ratio_and_their_verdict(gpu_records: list[Record]) -> None:
    table = compare_table(gpu_records)
    shown = {str(column.header): list(column.cells)[1] for column in table.columns}
    assert shown["device latency"] == "21.00 µs"
    assert shown["verdict"] == "slower by over 1%"
    assert shown["device ratio"] == "1.004 [0.998, 1.007]"
    assert shown["device verdict"] == "same within 1%"
