"""The one command that a machine with a GPU is given: what it says, by checks that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from tests import gpu_smoke


def good(device: str) -> Mapping[str, Any]:
    return {"held": True, "device": device}


def bad(device: str) -> Mapping[str, Any]:
    return {"held": False}


def fails(device: str) -> Mapping[str, Any]:
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


@pytest.mark.parametrize(("checks", "expected"), [((good,), "pass"), ((good, bad), "fail"), ((fails, good), "fail")])
def test_one_check_that_does_not_hold_is_a_failure(checks: Any, expected: str) -> None:
    found = gpu_smoke.verdict("cuda:1", checks)
    assert found["verdict"] == expected
    assert json.loads(json.dumps(found)) == found
    assert found["checks"].get("good", {}).get("device") == "cuda:1"
    if fails in checks:
        assert "no kernel image" in found["checks"]["fails"]["error"]


def test_what_the_time_has_run_out_for_is_told() -> None:
    times = iter([0.0, 0.0, 600.0, 601.0, 602.0])
    found = gpu_smoke.verdict("cuda", (good, bad), lambda: next(times))
    assert found["checks"]["bad"] == {"held": False, "error": "not reached within the time"}


def test_without_a_device_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_smoke"])
    assert gpu_smoke.main() == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "no device"
