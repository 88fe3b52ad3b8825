"""Maps that can be written down by hand, exact in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convbench.errors import EmptyMapError
from convbench.measures.erf import ErfSettings, Given, measure_erf
from tests.erf.closed_form import centred, composed, constant_conv, dilated, ones, placed, settings


def box(kernel: int) -> np.ndarray:
    return np.ones(kernel)


@pytest.mark.parametrize("kernels", [(3,), (5, 5), (7, 7, 7), (13, 13), (31,), (3, 3, 3, 3), (7, 9, 11)])
@pytest.mark.parametrize("evaluation", ["auto", "full"])
def test_a_stack_of_constant_kernels_is_the_convolution_of_boxes(kernels: tuple[int, ...], evaluation: str) -> None:
    stack = nn.Sequential(*map(constant_conv, kernels))
    erf = measure_erf(stack, (1, 1, 48, 48), settings(evaluation=evaluation))
    assert np.array_equal(erf.map, centred(composed(*map(box, kernels)), 48, 24))
    reach = sum(kernel - 1 for kernel in kernels) + 1
    assert (erf.receptive_field.height, erf.receptive_field.width) == (reach, reach)
    assert erf.position == (24, 24)
    assert erf.centre == (24.0, 24.0)


@pytest.mark.parametrize(("kernel", "dilation", "depth"), [(3, 1, 4), (3, 2, 2), (5, 3, 2), (7, 1, 3)])
def test_variances_of_boxes_add_up(kernel: int, dilation: int, depth: int) -> None:
    erf = measure_erf(
        constant_conv(kernel, dilation=dilation), (1, 1, 64, 64), settings(depth=depth, evaluation="auto")
    )
    assert erf.metrics.sigma_y_px**2 == pytest.approx(depth * dilation**2 * (kernel**2 - 1) / 12, rel=1e-13)
    assert erf.metrics.sigma_px == pytest.approx(erf.metrics.sigma_x_px, rel=1e-13)


def test_depthwise_channels_do_not_mix() -> None:
    erf = measure_erf(constant_conv(5, 4, groups=4), (1, 4, 32, 32), settings())
    assert np.array_equal(erf.map, 4 * centred(box(5), 32, 16))


def test_dense_channels_add_up() -> None:
    erf = measure_erf(nn.Sequential(constant_conv(3, 4), constant_conv(3, 4)), (1, 4, 32, 32), settings())
    assert np.array_equal(erf.map, 4 * 16 * centred(composed(box(3), box(3)), 32, 16))


def test_strips_make_a_box() -> None:
    erf = measure_erf(nn.Sequential(constant_conv((1, 11)), constant_conv((5, 1))), (1, 1, 32, 32), settings())
    assert np.array_equal(erf.map, placed(np.ones((5, 11)), 32, 14, 11))
    assert erf.metrics.aspect == pytest.approx(np.sqrt((25 - 1) / (121 - 1)))
    assert erf.metrics.orientation_deg == pytest.approx(0.0)


def test_a_sum_of_strips_is_a_cross() -> None:
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tall, self.wide = constant_conv((51, 5)), constant_conv((5, 51))

        def forward(self, x: Tensor) -> Tensor:
            return self.tall(x) + self.wide(x)

    erf = measure_erf(Cross(), (1, 1, 224, 224), settings())
    expected = placed(np.ones((51, 5)), 224, 112 - 25, 110) + placed(np.ones((5, 51)), 224, 110, 112 - 25)
    assert np.array_equal(erf.map, expected)
    assert erf.metrics.agd == pytest.approx(0.255, abs=5e-4)


def test_binomial_kernels_are_already_nearly_gaussian() -> None:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    conv = constant_conv(5)
    conv.weight.data[0, 0] = torch.outer(taps, taps)
    erf = measure_erf(nn.Sequential(conv, conv), (1, 1, 48, 48), settings())
    assert np.array_equal(erf.map, centred(composed(taps, taps), 48, 24))
    assert erf.metrics.sigma_px == pytest.approx(np.sqrt(2.0))
    assert erf.metrics.agd > 0.995


@pytest.mark.parametrize("gamma", [1.0, 0.25])
def test_residual_blocks_mix_a_spike_and_a_box(gamma: float) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = constant_conv(3)
            self.layer_scale = nn.Parameter(torch.full((1, 1, 1), gamma))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer_scale * self.conv(x)

    erf = measure_erf(Residual(), (1, 1, 32, 32), settings(depth=2))
    spike, field = centred(np.ones(1), 32, 16), centred(box(3), 32, 16)
    twice = centred(composed(box(3), box(3)), 32, 16)
    assert np.array_equal(erf.map, spike + 2 * gamma * field + gamma**2 * twice)


def test_strided_stacks_on_even_grids() -> None:
    stack = nn.Sequential(*(constant_conv(3, padding=1, stride=2) for _ in range(3)))
    erf = measure_erf(stack, (1, 1, 64, 64), settings())
    taps = composed(box(3), dilated(box(3), 2), dilated(box(3), 4))
    # Output pixel j looks at input pixel 8j: of 24, 32, … the one nearest to 31.5 is 32.
    assert erf.position == (4, 4)
    assert np.array_equal(erf.map, centred(taps, 64, 32))
    assert (erf.receptive_field.top, erf.receptive_field.bottom) == (32 - 7, 32 + 8)


def test_a_patchify_stem_sees_one_patch() -> None:
    erf = measure_erf(constant_conv(4, padding=0, stride=4), (1, 1, 32, 32), settings())
    assert erf.position == (4, 4)
    assert np.array_equal(erf.map, placed(np.ones((4, 4)), 32, 16))
    assert erf.centre == (17.5, 17.5)
    assert erf.metrics.side_50_px == 4.0
    assert erf.metrics.centre_share == pytest.approx(0.25)
    assert (erf.metrics.offset_y_px, erf.metrics.offset_x_px) == (0.0, 0.0)


def test_pooling_to_one_pixel_is_uniform() -> None:
    erf = measure_erf(nn.AdaptiveAvgPool2d(1), (1, 3, 24, 24), settings())
    assert erf.map == pytest.approx(np.full((24, 24), 3 / 24**2), rel=1e-15)
    assert erf.receptive_field is None
    assert erf.method == "full"
    assert erf.metrics.entropy_area_px2 == pytest.approx(24**2)
    assert erf.metrics.agd == pytest.approx(1.0)  # on its own image the even map is the flattest Gaussian


def test_a_squeeze_and_excitation_gate_adds_an_even_floor() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean((2, 3), keepdim=True))

    erf = measure_erf(Gate(), (1, 1, 16, 16), settings(inputs=ones((1, 16, 16))))
    gate = 1 / (1 + np.exp(-1.0))
    expected = np.full((16, 16), gate * (1 - gate) / 256)
    expected[8, 8] += gate
    assert erf.map == pytest.approx(expected, rel=1e-14)
    assert erf.reason == "mean works across positions or samples"


def test_a_transposed_convolution_sees_the_taps_that_meet() -> None:
    conv = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    erf = measure_erf(conv, (1, 1, 16, 16), settings())
    # Output pixel 15 or 16 of 32 lies between input pixels 7 and 8: every pixel meets 4/2 taps along an axis.
    assert erf.method == "demand"
    assert np.array_equal(erf.map, placed(np.ones((2, 2)), 16, 7))


def test_zero_padding_cuts_the_box_and_circular_padding_wraps_it() -> None:
    zero = constant_conv(13, padding=6)
    circular = constant_conv(13, padding=6, padding_mode="circular")
    taps = composed(box(13), box(13))
    cut = measure_erf(zero, (1, 1, 16, 16), settings(depth=2)).map
    wrapped = measure_erf(circular, (1, 1, 16, 16), settings(depth=2)).map
    # Output pixel 8 sees input pixels 2..14 of the middle layer, all of them inside the image.
    assert np.array_equal(cut, centred(taps, 16, 8))
    aliased = np.zeros(16)
    np.add.at(aliased, (np.arange(25) - 12 + 8) % 16, taps)
    assert np.array_equal(wrapped, np.outer(aliased, aliased))


def test_random_weights_spread_squared_gradients_like_boxes() -> None:
    """E[Σ g²] of a linear stack with independent N(0, 1) weights is the convolution of boxes."""

    def build(_seed: int) -> nn.Module:
        stack = nn.Sequential(*(nn.Conv2d(2, 2, kernel, padding="same", groups=2, bias=False) for kernel in (3, 5)))
        for weight in stack.parameters():
            nn.init.normal_(weight)
        return stack

    batches = [
        measure_erf(
            build, (1, 2, 16, 16), ErfSettings(statistic="square", samples=1, seeds=16, seed=16 * batch, bootstrap=0)
        )
        for batch in range(12)
    ]
    maps = np.stack([erf.map for erf in batches])
    expected = 2 * centred(composed(box(3), box(5)), 16, 8)
    error = maps.std(axis=0, ddof=1) / np.sqrt(len(maps))
    deviation = np.abs(maps.mean(axis=0) - expected)
    assert (deviation <= 4 * error + 1e-12).all()


def test_statistics_of_a_signed_kernel() -> None:
    conv = constant_conv(3)
    conv.weight.data[0, 0] = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0], [7.0, -8.0, 9.0]])
    kernel = conv.weight.detach().numpy()[0, 0].astype(np.float64)
    by_statistic = {"abs": np.abs(kernel), "square": kernel**2, "relu": np.maximum(kernel, 0)}
    for statistic, expected in by_statistic.items():
        erf = measure_erf(conv, (1, 1, 8, 8), settings(statistic=statistic))
        assert np.array_equal(erf.map, placed(expected, 8, 3))
        assert erf.statistic == statistic


def test_a_map_is_the_mean_over_samples() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)[:, None, None, None].expand(3, 1, 4, 4)
    erf = measure_erf(Square(), (1, 1, 4, 4), settings(samples=3, inputs=Given(x)))
    assert erf.map[2, 2] == pytest.approx(2 * (1 + 2 + 6) / 3)
    assert erf.samples == 3


def test_a_zero_kernel_is_an_error_that_names_it() -> None:
    with pytest.raises(EmptyMapError, match=r"These weights are all zero: 0\.weight"):
        measure_erf(nn.Sequential(constant_conv(3, value=0.0)), (1, 1, 8, 8), settings())
