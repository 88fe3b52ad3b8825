"""RepLKNet's figures, against their script's arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convbench.measures.erf import ErfSettings, Given, measure_erf
from convbench.measures.erf.replknet import replknet_figures
from tests.erf.closed_form import placed


def test_squares_grow_from_three_until_they_hold_more_than_the_share() -> None:
    map_ = placed(np.full((5, 5), 9.0), 11, 3)  # log10(1 + 9) = 1 on 25 pixels
    figures = replknet_figures(map_)
    assert figures.sides_px == {0.2: 3, 0.3: 3, 0.5: 5, 0.99: 5}
    assert figures.area_ratios[0.5] == pytest.approx(25 / 121)


def test_the_share_must_be_exceeded_not_reached() -> None:
    map_ = np.zeros((12, 12))
    map_[6, 6] = map_[6, 8] = 9.0
    assert replknet_figures(map_).sides_px[0.5] == 5


def test_what_no_square_inside_the_image_holds_is_none() -> None:
    map_ = np.zeros((12, 12))
    map_[0, 0] = 1.0
    figures = replknet_figures(map_)
    assert set(figures.sides_px.values()) == {None}
    assert set(figures.area_ratios.values()) == {None}


def test_they_depend_on_the_scale_of_the_gradient() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    field = np.exp(-(y**2 + x**2) / 2 / 3**2)
    assert replknet_figures(1e-6 * field).sides_px[0.5] < replknet_figures(1e6 * field).sides_px[0.5]


def test_the_mode_rectifies_features_and_gradients_at_half_the_output() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1))
    images = torch.randn(4, 3, 30, 30, dtype=torch.float64)
    settings = ErfSettings(mode="replknet", samples=4, inputs=Given(images), dtype="float64", bootstrap=0)
    erf = measure_erf(module, (1, 3, 30, 30), settings)

    x = images.clone().requires_grad_()
    output = module.double()(x)
    (gradient,) = torch.autograd.grad(output[:, :, 15 // 2, 15 // 2].relu().sum(), x)
    expected = gradient.relu().sum((0, 1)).numpy() / 4
    assert (erf.position, erf.mode, erf.statistic, erf.probe) == ((7, 7), "replknet", "relu", "ones")
    assert np.abs(erf.map - expected).max() <= 3e-15 * expected.max()
    assert erf.replknet == replknet_figures(erf.map)


def test_other_modes_do_not_carry_these_figures() -> None:
    erf = measure_erf(nn.Conv2d(1, 1, 3, padding=1), (1, 1, 8, 8), ErfSettings(samples=1, bootstrap=0))
    assert erf.replknet is None
