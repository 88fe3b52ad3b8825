"""From a record back to its case: what is measured again is what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from convbench.case import Case
from convbench.check.recorded import cases_of, run
from convbench.errors import UsageError
from convbench.measures.carry_out import Measurer
from convbench.measures.table import Plan
from convbench.records import Record, record_of
from convbench.registry import entries, select

IDENTITY = (
    *("target", "kind", "options", "input_shape", "device", "dtype", "memory_format", "mode", "execution", "threads"),
    *("params", "macs", "flops"),
)


def identity(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in IDENTITY}


def replayed(record: Record) -> Case:
    """What the worker gives, without the worker."""
    return Case.from_json(run({"record": record.to_row(), "trust": False}, None))


Measured = Callable[[Case], Record]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    with Measurer() as measurer:
        yield lambda case: record_of(measurer.carry_out([case], Plan(("params", "cost")))[0])


@pytest.mark.parametrize("target", [entry.name for entry in select(kind="block")])
def test_every_registered_block_is_found_again(target: str, measured: Measured) -> None:
    record = measured(Case(target, dim=16, size=14, device="meta"))
    again = replayed(record)
    assert identity(measured(again)) == identity(record)
    assert again.dim == 16  # as it was given


CONDITIONS: list[dict[str, Any]] = [
    {"options": (("kernels", [3, 5]), ("groups", [1, 2])), "dim": 16},
    {"mode": "training", "input_grad": False},
    {"mode": "training", "dtype": "bfloat16", "seed": 3},
    {"autocast": "bfloat16", "memory_format": "channels_last"},
    {"batch": 3, "size": 9},
    {"threads": 2, "execution": "compiled"},
    {"transforms": ("refocus", "fuse")},
]


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda c: ",".join(c))
def test_every_condition_is_kept(conditions: dict[str, Any], measured: Measured) -> None:
    target = "PyConv" if "options" in conditions else "Bottleneck"
    case = Case(target, **{"device": "meta", "size": 14, **conditions})
    record = dataclasses.replace(measured(case), latency_ms=1.0)
    again = replayed(record)
    assert identity(measured(again)) == identity(record)
    for name in ("autocast", "seed", "transforms", "memory_format", "mode", "execution", "threads", "dtype"):
        assert getattr(again, name) == getattr(case, name), name
    assert again.shapes == ((case.batch, 64 if "dim" not in conditions else 16, case.size, case.size),)


@pytest.mark.parametrize("target", ["timm:resnet18", "torchvision:resnet18"])
def test_networks_of_hosts_are_found_again(target: str, measured: Measured) -> None:
    pytest.importorskip(target.partition(":")[0])
    record = measured(Case(target, size=64, device="meta"))
    assert identity(measured(replayed(record))) == identity(record)


USERS = """
from torch import nn
class Mine(nn.Module):
    def __init__(self, dim, act=nn.GELU, kernel_size=(3, 3), seed=1, pretrained=False):
        super().__init__()
        assert isinstance(act, type) and isinstance(pretrained, bool)
        self.conv = nn.Conv2d(dim, dim, tuple(kernel_size), padding=1)
        self.act = act()
        self.extra = nn.Linear(seed, seed)
    def forward(self, x):
        return self.act(self.conv(x))
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    return f"{path}:Mine"


def test_defaults_that_cannot_be_written_down_are_left_to_the_target(mine: str, measured: Measured) -> None:
    record = measured(Case(mine, dim=8, size=6))
    assert "GELU" in json.loads(record.options or "")["act"]
    assert identity(measured(replayed(record))) == identity(record)


def test_a_targets_own_option_is_not_taken_for_a_condition(mine: str, measured: Measured) -> None:
    record = measured(Case(mine, dim=8, size=6, options=(("seed", 5), ("kernel_size", [3, 3]))))
    again = replayed(record)
    assert dict(again.options) == {"seed": 5, "kernel_size": [3, 3]}
    assert (again.dim, again.seed, again.pretrained) == (8, 0, False)
    assert identity(measured(again)) == identity(record)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record("NoSuchBlock", input_shape="1x64x8x8"), "nothing is registered as 'NoSuchBlock'"),
        (Record("gone.py:Block", input_shape="1x64x8x8"), "gone.py"),
        (Record("MRFA"), "no input_shape"),
        (Record("MRFA", input_shape="1x64xAx8"), "write its shape"),
        (Record("MRFA", input_shape="1x64x8x8", options="[1]"), "not a JSON object: '[1]'"),
        (Record("MRFA", input_shape="1x64x8x8", options="{"), "MRFA, options, line 1: not JSON"),
        (Record("MRFA", input_shape="1x64x8x8", options='{"seed": "x"}'), "seed: expected `int`, got `str`"),
        (Record("MRFA", input_shape="1x64x8x8", options='{"pretrained": 3}'), "pretrained: expected `bool`, got `int`"),
        (Record("MRFA", input_shape="1x64x8x8", options='{"weights": [1]}'), "weights: expected `str | null`"),
        (Record("MRFA", input_shape="1x64x8x8", mode="fast"), "mode: invalid enum value 'fast'"),
        (Record("MRFA", input_shape="1x64x8x8", device="gpu"), "device 'gpu' is not one of"),
        (Record("MRFA", input_shape="1x64x8x8", threads=2**40), "threads must be at most"),
    ],
)
def test_a_record_that_does_not_say_enough_is_refused(record: Record, message: str) -> None:
    assert "nosuchblock" not in entries()
    with pytest.raises(UsageError) as caught:
        replayed(record)
    assert message in str(caught.value)


def test_a_record_is_refused_with_its_place_before_any_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("open('imported', 'w')\n" + USERS)
    rows = [Record(f"{path}:Mine", input_shape="1x8x6x6"), Record("os:system", input_shape="1x8x6x6")]
    with pytest.raises(UsageError, match="second: 'os:system' is not called: Python's own library defines no module"):
        cases_of([("first", rows[0]), ("second", rows[1])])
    assert not Path("imported").exists()
