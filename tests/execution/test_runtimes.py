"""Modules in other runtimes: exported once, checked against eager before anything is timed, refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import MeasurementError, MissingExtraError
from convbench.execution import runtimes
from convbench.execution.runtimes import Runtime, Session, running
from convbench.execution.step import Step
from convbench.measures.latency.timing import job
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.result import ProcessTiming
from convbench.target.packed import Packed
from convbench.workers.environment import sharing_exports
from tests.timing.machines import TickingHost


def step(module: nn.Module | None = None, **changes: object) -> Step:
    made = Step((module or nn.Conv2d(4, 4, 3, padding=1)).eval(), (torch.randn(1, 4, 8, 8),))
    return replace(made, **changes)  # type: ignore[arg-type]


class Made:
    """A runtime that does as the test says; counts what it was asked for."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.exported = self.called = 0

    def export(self, made: Step, path: Path) -> None:
        self.exported += 1
        path.write_text("graph")

    def load(self, made: Step, path: Path, threads: int) -> Session:
        assert path.read_text() == "graph"
        assert threads == 3

        def call() -> None:
            self.called += 1

        return Session(call, lambda: (self.factor * made.forward(),), ("Conv×1",))


def use(monkeypatch: pytest.MonkeyPatch, made: Made, packages: tuple[str, ...] = (), name: str = "made") -> None:
    row = Runtime(packages, "made", ".graph", False, made.export, made.load)
    monkeypatch.setitem(runtimes.RUNTIMES, name, row)  # type: ignore[arg-type]


def test_a_module_is_exported_once_and_loaded_by_every_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Made(1 + 1e-5)
    use(monkeypatch, made)
    first, second = (running(step(), "made", 3, tmp_path / "exports", "key") for _ in range(2))
    assert (made.exported, made.called) == (1, 2)
    assert first.export_ns is not None
    assert second.export_ns is None
    assert min(first.session_ns, second.session_ns) > 0
    assert first.session.kernels == ("Conv×1",)
    assert first.notes == ("made agrees with eager within 1.0e-05 of the largest output (tolerance 0.001)",)


@pytest.mark.parametrize("factor", [1.01, float("nan"), -1.0])
def test_what_computes_something_else_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float
) -> None:
    use(monkeypatch, Made(factor))
    with pytest.raises(MeasurementError, match="made differs from eager"):
        running(step(), "made", 3, tmp_path, "key")


def test_a_failure_to_export_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Made()

    def export(*_: object) -> None:
        raise RuntimeError("\n  Unsupported operator: aten::roll\n  at line 3\n")

    made.export = export  # type: ignore[method-assign]
    use(monkeypatch, made)
    with pytest.raises(MeasurementError) as caught:
        running(step(), "made", 3, tmp_path, "key")
    assert str(caught.value) == "it cannot be exported: RuntimeError: Unsupported operator: aten::roll"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, Made(), packages=("no_such_runtime",))
    with pytest.raises(MissingExtraError, match=r"pip install 'convbench\[made\]'"):
        running(step(), "made", 3, tmp_path, "key")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": "training"}, "inference alone"),
        ({"autocast": torch.bfloat16}, "without --autocast"),
        ({"kwargs": {"scale": 2.0}}, "arguments are tensors, by position"),
        ({"args": (torch.zeros(1, 4, 8, 8, dtype=torch.float64),)}, "in float32"),
    ],
)
def test_what_is_not_timed_there_says_so(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=reason):
        running(step(**changes), "openvino", 1, tmp_path, "key")


def test_runtimes_take_turns_with_eager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    TickingHost().install(monkeypatch)
    made = Made()
    use(monkeypatch, made, name="onnxruntime")
    for name, value in sharing_exports(tmp_path).items():
        monkeypatch.setenv(name, value)
    eager = Case("Conv3x3", dim=4, size=6, threads=3)
    cases = (eager, replace(eager, execution="onnxruntime"), replace(eager, execution="onnxruntime", mode="training"))
    order = Order(dict(enumerate(map(Packed, cases))), 0, 3, 0.2, 10.0, 10.0, 0, "cold", True, None)
    timing = ProcessTiming.from_json(job.run(order.to_request(), lambda _: None))
    _, ran, refused = timing.targets.values()
    assert ran.status == "ok", ran.error
    assert ran.eager is not None
    assert ran.eager.log_ratio is not None
    assert ran.export_ms is not None
    assert ran.session_ms is not None
    assert ran.kernels == ("Conv×1",)
    assert made.called > 50
    assert (refused.status, refused.error) == (
        "error",
        "onnxruntime runs inference alone: --mode inference without --autocast",
    )


def test_torchscript_runs_what_eager_runs(tmp_path: Path) -> None:
    found = running(step(), "torchscript", 1, tmp_path, "key")
    found.session.call()
    assert "torchscript agrees with eager" in found.notes[0]


def test_an_export_that_was_cut_short_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Made()

    def cut_short(made_of: Step, path: Path) -> None:
        path.write_text("gra")
        raise KeyboardInterrupt

    monkeypatch.setattr(made, "export", cut_short)
    use(monkeypatch, made)
    with pytest.raises(KeyboardInterrupt):
        running(step(), "made", 3, tmp_path, "key")
    assert not (tmp_path / "key-made").exists()


@pytest.mark.slow
@pytest.mark.parametrize("execution", ["onnxruntime", "openvino"])
def test_a_block_in_a_runtime_that_is_installed(execution: str, tmp_path: Path) -> None:
    """Called again after everything that was made on the way is gone: its inputs and outputs are bound by address."""
    for package in runtimes.RUNTIMES[execution].packages:
        pytest.importorskip(package)
    found = running(step(), execution, 1, tmp_path, "key")
    for _ in range(3):
        found.session.call()
    assert "agrees with eager" in found.notes[0]
    assert any("conv" in kernel.lower() for kernel in found.session.kernels)
