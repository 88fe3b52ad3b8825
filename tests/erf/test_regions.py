"""Regions: which channel of a layer is largest, and how they are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import NotDefinedError, OptionError
from convbench.measures.erf import regions
from convbench.measures.erf.regions import RegionMap
from convbench.pictures.regions import draw_regions, regions_picture
from convbench.target.packed import pack_instance
from convbench.workers.codec import decode


class Guided(nn.Module):
    """Its guide's channels are x and 0, so that region 1 is where the input is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.guide = nn.Conv2d(1, 2, 1, bias=False)
        self.guide.weight.data = torch.tensor([1.0, 0.0])[:, None, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.guide(x)


def found(tmp_path: Path, shape: tuple[int, ...] = (1, 1, 4, 6), **request: object) -> list[RegionMap]:
    case = Case("Guided", shapes=(shape,))
    packed = pack_instance(Guided(), case, tmp_path, None, None).to_json()
    answer = regions.run(
        {"packed": packed, "layer": "guide", "inputs": "noise", "samples": 2, **request}, lambda _: None
    )
    return [decode(RegionMap, item) for item in answer["maps"]]


def test_a_region_is_the_largest_channel(tmp_path: Path) -> None:
    first, second = found(tmp_path)
    assert np.array_equal(first.regions, first.image < 0)
    assert (first.channels, first.regions.shape) == (2, (4, 6))
    assert first.shares == pytest.approx((np.mean(first.image >= 0), np.mean(first.image < 0)))
    assert not np.array_equal(first.image, second.image)


def test_given_inputs_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.where(np.eye(4) > 0, -1.0, 1.0)[None, None].astype(np.float32))
    (only,) = found(tmp_path, (1, 1, 4, 4), inputs=str(path))
    assert np.array_equal(only.regions, np.eye(4))


def test_wrong_requests_are_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'guide'"):
        found(tmp_path, layer="guid")
    with pytest.raises(NotDefinedError, match="one input of shape N,C,H,W"):
        found(tmp_path, (1, 4))


def test_every_region_has_a_colour_and_its_share() -> None:
    samples = [(np.zeros((8, 8)), np.arange(4.0).reshape(2, 2)), (np.ones((8, 8)), np.zeros((2, 2)))]
    figure = draw_regions(samples, 5, "a $name$", 7.0)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["1: 62%", "2: 12%", "3: 12%", "4: 12%"]
    assert len(figure.axes) == 4
    assert r"a \$name\$" in [text.get_text() for text in figure.texts]
    assert regions_picture(figure, "png").startswith(b"\x89PNG")
