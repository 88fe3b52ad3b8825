"""The course of a call as a picture and as a table."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import OutputError
from convbench.measures.memory import Memory, MemoryEvent, measure_memory
from convbench.report.io.files import write_atomically
from convbench.report.io.formats import check_outputs
from convbench.report.plots.memory_timeline import (
    SUFFIXES,
    timeline_content,
    timeline_csv,
    timeline_figure,
    timeline_layers,
)
from convbench.target.blueprint import Subject


def memory_of(module: nn.Module, mode: str = "training") -> Memory:
    case = Case("nothing", shapes=((1, 4, 8, 8),), mode=mode)  # type: ignore[arg-type]
    return measure_memory(Subject(case, "x", "block", {}, module, (torch.randn(1, 4, 8, 8),)), high_water=False)


def block() -> nn.Module:
    branches = [nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Sigmoid()) for _ in range(9)]

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(branches)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([branch(x) for branch in self.branches]).sum(0)

    return Sum()


def test_the_table_has_every_change_in_bytes() -> None:
    memory = memory_of(block())
    rows = list(csv.DictReader(io.StringIO(timeline_csv(memory))))
    assert [int(row["index"]) for row in rows] == list(range(len(memory.timeline)))
    assert int(rows[0]["live_bytes"]) == memory.weights_bytes + memory.input_bytes
    assert max(int(row["live_bytes"]) for row in rows) == memory.peak_bytes
    for before, row in pairwise(rows):
        assert int(row["live_bytes"]) - int(before["live_bytes"]) == int(row["change_bytes"])
    assert {row["phase"] for row in rows} == {"forward", "backward"}


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_layers_add_up_and_never_fall_below_nothing(mode: str) -> None:
    memory = memory_of(block(), mode)
    layers = timeline_layers(memory)
    assert [sum(sizes) for sizes in zip(*layers.values(), strict=True)] == [e.live_bytes for e in memory.timeline]
    assert all(size >= 0 for layer in layers.values() for size in layer)
    assert list(layers)[:2] == ["weights", "input"]
    assert len(layers) == 2 + 7 + 1
    assert list(layers)[-1] == "other modules"
    assert "branches.0" in layers


def test_paths_are_as_short_as_tells_modules_apart() -> None:
    names = ["stem.0", "body.0.a", "body.0.b", "body.1.a", "head"]
    events = [MemoryEvent(i, "op", name, "forward", 8, 8 * (i + 1)) for i, name in enumerate(names)]
    memory = Memory(0, 0, 0, 40, "storages", 40, timeline=tuple(events))
    assert set(timeline_layers(memory)) == {"weights", "input", "stem.0", "body.0", "body.1", "head"}
    assert timeline_layers(memory)["body.0"] == [0, 8, 16, 16, 16]


def test_the_picture_names_phases_and_the_peak() -> None:
    memory = memory_of(block())
    axes = timeline_figure(memory).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == ["forward", "backward"]
    assert texts[2].startswith("peak ")
    assert axes.get_ylabel() == "alive (MiB)"
    assert axes.get_ylim()[1] > memory.peak_bytes / 2**20


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".CSV", b"index,phase")]
)
def test_the_suffix_picks_the_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"timeline{suffix}"
    write_atomically(path, timeline_content(memory_of(nn.ReLU()), suffix))
    assert path.read_bytes().startswith(start)


def test_a_call_that_allocates_nothing_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "nothing.png"
    write_atomically(path, timeline_content(memory_of(nn.Identity(), "inference"), path.suffix))
    assert path.stat().st_size > 1000


def test_a_wrong_suffix_or_place_is_said_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"timeline\.txt: .*\.png.*\.csv"):
        check_outputs([tmp_path / "timeline.txt"], SUFFIXES)
    with pytest.raises(OutputError, match="does not exist"):
        check_outputs([tmp_path / "nowhere" / "timeline.png"], SUFFIXES)


def test_drawing_imports_no_torch() -> None:
    code = """
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from convbench.report.plots.memory_timeline import timeline_csv, timeline_figure
event = SimpleNamespace(index=0, phase="forward", operator="(forward)", module="", change_bytes=0, live_bytes=8)
memory = SimpleNamespace(timeline=(event,), weights_bytes=4, input_bytes=4)
timeline_csv(memory), timeline_figure(memory)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
