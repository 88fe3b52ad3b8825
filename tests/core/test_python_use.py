"""Python as people use it: what they hold in their hands is a target, and what they get shows itself."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import convbench
from convbench import ErfSettings, Record
from convbench.errors import TargetError, UsageError


class Pointwise(nn.Module):
    """A block of ``dim`` channels: dim² MACs a pixel."""

    def __init__(self, dim: int, bias: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.mix(x)
        return out


def test_instances_classes_and_references_are_compared_side_by_side() -> None:
    found = convbench.compare([Pointwise(8), "Conv3x3", Pointwise], 8, size=4, measures="params,cost")
    assert found["macs"].tolist() == [8 * 8 * 16, 9 * 8 * 8 * 16, 8 * 8 * 16]
    assert found["target"].tolist() == ["Pointwise", "Conv3x3", "Pointwise"]
    assert found["input_shape"].tolist() == ["1x8x4x4"] * 3
    assert isinstance(found.to_frame(), pd.DataFrame)
    *rows, conditions = repr(found).splitlines()
    assert [line.split()[0] for line in rows] == ["Target", "Pointwise", "Conv3x3", "Pointwise"]
    assert conditions.startswith("Kind: block; Input: 1x8x4x4; Device: cpu;")
    assert "<td>Conv3x3</td>" in found._repr_html_()
    assert len(found.plot().axes) == 2  # parameters and MACs; nothing else was measured
    assert isinstance(found[["target", "macs"]], pd.DataFrame)


def test_a_class_is_built_with_its_options_and_conditions_are_understood() -> None:
    record = convbench.profile(
        Pointwise,
        dim=4,
        bias=True,
        shape="2,4,5,5",
        measures="params",
        dtype=torch.bfloat16,
        device=torch.device("cpu"),
    )
    assert (record.params, record.dtype, record.input_shape) == (4 * 4 + 4, "bfloat16", "2x4x5x5")


def test_one_target_may_stand_alone_and_a_baseline_be_what_is_compared() -> None:
    assert convbench.compare("Conv3x3", 8, size=4, measures="params")["params"].tolist() == [8 * 8 * 9 + 16]
    with pytest.raises(UsageError, match="baseline 'MRFA' is not among the targets"):
        convbench.compare("Conv3x3", 8, baseline="MRFA", measures="params")


def test_what_is_no_target_is_refused() -> None:
    with pytest.raises(TargetError, match="3 is no target"):
        convbench.profile(3, measures="params")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="measure 'speed' is not one of"):
        convbench.profile("MRFA", measures="params,speed")


def test_a_record_shows_itself() -> None:
    record = Record("MRFA", input_shape="1x64x8x8", device="cpu", params=23216, latency_ms=1.25, latency_noise="noisy")
    assert repr(record) == "<Record MRFA 1x64x8x8 cpu: params 23.22 k, latency ~1.250 ms>"
    assert repr(Record("MRFA", status="oom", error="no room")) == "<Record MRFA : oom: no room>"
    assert "<td>23.22 k</td>" in record._repr_html_()  # type: ignore[operator]
    assert record.to_frame()["params"].tolist() == [23216]
    assert [axes.get_xlabel() for axes in record.plot().axes] == ["Parameters", "Latency (ms)"]


def test_a_receptive_field_shows_itself() -> None:
    field = convbench.erf(nn.Conv2d(2, 2, 3, padding=1), shape="1,2,9,9", settings=ErfSettings(samples=2))
    assert repr(field) == f"<Erf Conv2d 9×9: σ {field.metrics.sigma_px:.4g} px, 99% in a square of 3 px, N(0, 1) noise>"
    assert field._repr_html_().lstrip().startswith(("<!DOCTYPE svg", "<svg"))
    assert field.to_frame().loc["side_99_px", "value"] == 3
    assert field.plot().axes


def test_a_sweep_without_a_store_says_where_it_keeps_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    frame = convbench.sweep(["Conv3x3"], dims=[4, 8], sizes=4, measures="params")
    assert frame["params"].tolist() == [4 * 4 * 9 + 8, 8 * 8 * 9 + 16]
    assert "records are kept in " in capsys.readouterr().err
