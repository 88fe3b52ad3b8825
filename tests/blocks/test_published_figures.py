"""The table of published figures: complete, about networks that exist, true to their parameters."""

from __future__ import annotations

import csv
import inspect
import json

import pytest
import torch

from convblocks.catalogue import ENTRIES
from convblocks.published import figures
from tests.blocks.test_network_golden import factory

with figures().open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
OURS = [row for row in ROWS if not row["target"].startswith("torchvision:")]
ERRATA = {("UniConvNet", "P0", "0.932"), ("UniConvNet", "L", "100.1"), ("Conv2Former", "N", "2.2"),
          ("DRConv", "ShuffleNetV2-0.5x", "0.046")}  # fmt: skip


def test_every_published_row_is_there_with_its_source() -> None:
    assert len(ROWS) == 40
    assert all(row["source"] and row["convention"] and row["gmacs"] for row in ROWS)


def test_what_is_known_to_differ_is_explained_and_nothing_else() -> None:
    assert {(row["system"], row["variant"], row["gmacs"]) for row in ROWS if row["explanation"]} == ERRATA


def test_every_target_is_registered_or_torchvision_s() -> None:
    names = {entry["name"] for entry in ENTRIES if entry["kind"] == "network"}
    assert {row["target"] for row in OURS} <= names
    assert {row["target"] for row in ROWS} - names == {f"torchvision:resnet{layers}" for layers in (50, 101, 152)}


@pytest.mark.parametrize("row", OURS, ids=lambda row: f"{row['target']} {row['resolution']} {row['gmacs']}")
def test_network_has_the_published_parameters(row: dict[str, str]) -> None:
    build, options = factory(row["target"]), json.loads(row["options"] or "{}")
    inspect.signature(build).bind(**options)
    if not row["params_m"]:
        return
    with torch.device("meta"):
        params = sum(parameter.numel() for parameter in build(**options).parameters())
    digits = len(row["params_m"].partition(".")[2])
    assert params / 1e6 == pytest.approx(float(row["params_m"]), abs=0.55 * 10**-digits, rel=0.0075)
