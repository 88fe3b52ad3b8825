"""Saved plugged hosts: code that stands on its own and builds the same network, and its weights."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import convbench
from convbench.case import Case
from convbench.errors import UsageError
from convbench.plugging import load_block
from convbench.plugging.code import code_of
from convbench.plugging.job import plug_into, run

YOLO = str(Path(__file__).parent / "like_yolo.py")


def saved(
    tmp_path: Path, case: Case, block: str, where: str = "3x3", after: tuple[str, ...] = (), **options: Any
) -> Any:
    """The plugged host, and what its saved code defines."""
    plugged = plug_into(case, load_block(block, options), where, after)
    text = code_of(case, block, plugged.changes)
    assert "convbench" not in text.replace("Written by convbench", "")
    path = tmp_path / "saved.py"
    path.write_text(text, encoding="utf-8")
    return plugged.module, runpy.run_path(str(path))


@pytest.mark.parametrize(
    ("case", "block", "where", "after", "options"),
    [
        (Case("torchvision:resnet18", size=32), "PyConv", "layer1.*conv1", (), {"kernels": [3, 5]}),
        (Case("timm:mobilenetv3_small_050", size=32), "MRFA", "depthwise", (), {}),
        (
            Case(f"{YOLO}:Detector", size=32, options=(("width", 8),)),
            "DRConv",
            "all",
            (),
            {"regions": 2},
        ),
        (Case(f"{YOLO}:Detector", size=32), "MRFA", "", ("model.2", "model.0"), {}),
        (Case("torchvision:squeezenet1_1", size=64), "RefConv", "3x3", (), {}),
    ],
)
def test_the_code_builds_the_same_network(
    tmp_path: Path, case: Case, block: str, where: str, after: tuple[str, ...], options: dict[str, Any]
) -> None:
    module, names = saved(tmp_path, case, block, where, after, **options)
    torch.save(module.state_dict(), tmp_path / "saved.pt")
    again = names["build"](str(tmp_path / "saved.pt")).eval()
    x = torch.randn(1, 3, case.size or 32, case.size or 32)
    assert torch.equal(again(x), module.eval()(x))
    assert again.state_dict().keys() == module.state_dict().keys()


def test_the_code_takes_another_number_of_classes_and_is_a_target(tmp_path: Path) -> None:
    saved(tmp_path, Case("torchvision:resnet18", size=32), "PyConv", "layer1.*conv1")
    network = convbench.build(f"{tmp_path / 'saved.py'}:build", num_classes=7)
    assert network.training
    assert network.fc.out_features == 7
    assert type(network.layer1[0].conv1).__name__ == "PyConv4"


def test_what_no_code_can_say(tmp_path: Path) -> None:
    case = Case("torchvision:resnet18", size=32, transforms=("refocus",))
    with pytest.raises(UsageError, match=r"save plugged\.pt"):
        code_of(case, "PyConv", ())
    convbench.register("MadeHere", lambda dim: torch.nn.Identity())
    with pytest.raises(UsageError, match="MadeHere was registered at run time"):
        code_of(Case("torchvision:resnet18"), "MadeHere", ())


def test_there_are_no_weights_on_meta(tmp_path: Path) -> None:
    case = Case("torchvision:resnet18", size=32, device="meta")
    request = {"case": case.to_json(), "block": "PyConv", "options": {}, "where": "layer1.0.conv1", "after": []}
    with pytest.raises(UsageError, match="on the meta device there are no weights"):
        run({**request, "folder": str(tmp_path), "weights": True}, lambda _: None)
