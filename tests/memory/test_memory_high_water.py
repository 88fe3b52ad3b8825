"""The fresh process that checks the storages' figure, and what happens where it cannot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import convbench
from convbench.case import Case
from convbench.errors import MeasurementError, UsageError
from convbench.measures.memory import high_water, measure_memory
from convbench.target.blueprint import Subject, make_subject
from convbench.target.packed import Packed

MIB = 2**20
BLOCKS = Path(__file__).with_name("big_blocks.py")

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a high-water mark that can be reset")


@linux
@pytest.mark.parametrize("size", [64 * MIB, 128 * MIB])
def test_growth_is_what_a_call_writes_even_if_it_is_given_back(size: int) -> None:
    # In a process of its own: one that ran other tests has free pages to give. The first call there pages code in.
    growth = f"growth_of(lambda: torch.ones({size // 4}))"
    code = f"import torch; from {high_water.__name__} import growth_of; {growth}; print({growth})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == pytest.approx(size, abs=MIB)


@linux
def test_a_fresh_process_sees_gradients_meet_in_place() -> None:
    subject = make_subject(Case(f"{BLOCKS}:Threefold", dim=16, size=512, mode="training"))
    memory = measure_memory(subject)
    # Input, the first gradient and the one that is added to it: 3 · 16 MiB, as many as in forward.
    assert memory.backward_peak_bytes == pytest.approx(48 * MIB, abs=64)
    assert memory.forward_peak_bytes == pytest.approx(48 * MIB, abs=64)
    assert memory.high_water_bytes == pytest.approx(48 * MIB, rel=0.02)
    assert memory.workspace_bytes is not None
    assert memory.workspace_bytes < MIB


@linux
def test_memory_that_is_never_written_is_said() -> None:
    memory = measure_memory(make_subject(Case(f"{BLOCKS}:Untouched", dim=4, size=8)))
    assert memory.peak_bytes > 64 * MIB
    assert memory.workspace_bytes == 0
    assert "never written" in memory.notes[0]


@linux
def test_a_target_registered_in_this_process_is_checked_too() -> None:
    def registered(dim: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU())

    convbench.register("CheckedInAFreshProcess", registered)
    memory = measure_memory(make_subject(Case("CheckedInAFreshProcess", dim=16, size=256)))
    assert memory.notes == ()
    assert memory.peak_bytes == memory.weights_bytes + 3 * 4 * MIB
    assert memory.high_water_bytes == pytest.approx(memory.peak_bytes, rel=0.03)


def test_another_module_than_the_case_builds_is_not_checked_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(f"{BLOCKS}:Threefold", dim=4, size=8)
    subject = make_subject(case)
    changed = replace(subject, module=nn.Conv2d(4, 4, 1))
    assert high_water.fingerprint(subject) == high_water.fingerprint(make_subject(case))
    request = {"packed": Packed(case).to_json(), "fingerprint": high_water.fingerprint(changed)}
    monkeypatch.setattr(high_water, "_no_huge_pages", lambda: None)
    with pytest.raises(MeasurementError, match="another module or input"):
        high_water.run(request, lambda _: None)


def test_arguments_that_the_case_does_not_say_are_found_out() -> None:
    subject = replace(make_subject(Case(f"{BLOCKS}:Threefold", dim=4, size=8)), kwargs={"y": torch.zeros(1)})
    assert high_water.fingerprint(subject) != high_water.fingerprint(replace(subject, kwargs={}))


def test_a_kernel_without_a_mark_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeasurementError, match="does not let the high-water mark be reset"):
        high_water.require_marks(tmp_path / "nowhere")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MeasurementError, match="only Linux"):
        high_water.require_marks()


@pytest.mark.parametrize("kind", [MeasurementError, UsageError])
def test_a_check_that_fails_leaves_the_figure_and_says_why(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Subject, _worker: object) -> int:
        raise kind("the child was killed")

    monkeypatch.setattr("convbench.measures.memory.measure.high_water_growth", fails)
    memory = measure_memory(make_subject(Case(f"{BLOCKS}:Threefold", dim=4, size=8)))
    assert memory.peak_bytes == 3 * 4 * 4 * 64 + 3 * 4
    assert memory.high_water_bytes is memory.workspace_bytes is None
    assert memory.notes == ("not cross-checked by a fresh process: the child was killed",)


def test_compiled_calls_are_traced_eagerly_and_say_so() -> None:
    case = Case(f"{BLOCKS}:Threefold", dim=4, size=8, execution="compiled")
    memory = measure_memory(make_subject(case))
    assert memory.high_water_bytes is None
    assert "traced eagerly" in memory.notes[0]
