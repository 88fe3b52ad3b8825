"""Measuring from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import convbench
from convbench import registry
from convbench.errors import ShapeError, TargetError, UsageError
from convbench.measures.latency import LatencySettings
from convbench.records import COLUMNS

QUICK = ("params", "cost")


def test_a_registered_block_by_name() -> None:
    record = convbench.profile("MRFA", 64, measures=QUICK)
    assert (record.params, record.macs, record.status) == (23_216, 70_296_576, "ok")
    assert record.latency_ms is None
    assert record.target == "MRFA"


def test_options_reach_the_block() -> None:
    record = convbench.profile("Conv2Former", 16, size=20, measures=QUICK, kernel_size=7)
    assert record.params == 4480
    assert json.loads(str(record.options)).items() >= {"dim": 16, "kernel_size": 7}.items()


def test_a_module_is_measured_and_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    record = convbench.profile(module, shape=(2, 3, 16, 16), measures=("params", "cost", "memory", "erf"))
    assert record.macs == 2 * 16 * 16 * 8 * 3 * 9
    assert record.target == "Sequential"
    assert record.input_shape == "2x3x16x16"
    assert record.erf_sigma == pytest.approx((2 / 3) ** 0.5, rel=0.3)
    assert module.training
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert not any(parameter.grad is not None for parameter in module.parameters())


def test_a_module_takes_its_own_inputs() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    record = convbench.profile(Two(), inputs=[torch.ones(3, 4), torch.ones(4, 5)], measures=QUICK)
    assert (record.macs, record.input_shape) == (60, "3x4;4x5")


def test_a_module_without_a_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="give shape="):
        convbench.profile(nn.Conv2d(3, 3, 1))
    with pytest.raises(UsageError, match="already built"):
        convbench.profile(nn.Conv2d(3, 3, 1), dim=3, shape=(1, 3, 4, 4))


def test_compare_gives_a_frame_with_the_schema() -> None:
    frame = convbench.compare(["PyConv", "MRFA"], 64, measures=QUICK)
    assert tuple(frame.columns) == COLUMNS
    assert frame["macs"].tolist() == [84_897_792, 70_296_576]
    assert frame["latency_ms"].isna().all()


def test_a_registered_factory_is_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_runtime", {})
    convbench.register("Pointwise", lambda dim, bias=True: nn.Conv2d(dim, dim, 1, bias=bias), summary="1×1")
    assert convbench.profile("pointwise", 8, size=4, measures=QUICK, bias=False).params == 64


def test_a_module_that_rejects_its_input_is_a_target_error() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("not today")

    with pytest.raises(TargetError, match="not today"):
        convbench.profile(Fails(), shape=(1, 3, 4, 4), measures=QUICK)


def test_a_receptive_field_of_a_name_and_of_a_module() -> None:
    field = convbench.erf("Conv3x3", 8, size=9)
    assert field.initialisations > 1
    assert field.map.shape == (9, 9)
    module = nn.Conv2d(2, 2, 3, padding=1)
    assert convbench.erf(module, shape=(1, 2, 9, 9)).initialisations == 1
    with pytest.raises(ShapeError, match="give shape="):
        convbench.erf(module)


SCRIPT = """
import convbench
from torch import nn
from convbench.measures.latency import LatencySettings

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
    def forward(self, x):
        return self.conv(x)

record = convbench.profile(Mine(), shape=(1, 4, 8, 8), measures=["latency"],
                           latency=LatencySettings(processes=1, max_time_s=1))
print(record.target, record.status, record.latency_ms > 0, record.error)
"""


@pytest.mark.slow
def test_a_class_of_the_users_own_script_reaches_the_measuring_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["Mine", "ok", "True", "None"], done.stderr


@pytest.mark.slow
def test_latency_of_a_module_instance() -> None:
    record = convbench.profile(
        nn.Conv2d(4, 4, 3), shape=(1, 4, 8, 8), measures=["latency"], latency=LatencySettings(processes=1, max_time_s=1)
    )
    assert record.status == "ok", record.error
    assert record.latency_ms > 0
    assert record.latency_low_ms is record.latency_high_ms is None  # of one process nothing says how far others lie
