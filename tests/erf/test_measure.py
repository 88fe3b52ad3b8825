"""What is probed, what is drawn, what is left as it was, and when drawing stops."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convbench.errors import MeasurementError, OptionError, ShapeError, TargetError
from convbench.measures.erf import Erf, ErfSettings, Given, measure_erf
from tests.erf.closed_form import constant_conv, settings
from tests.erf.modules import ChannelNorm

FAST = ErfSettings(samples=4, seeds=2, bootstrap=0)


def gelu_stack(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1))


class Grumpy(nn.Module):
    """Has state of every kind, and fails on demand."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fails = fails
        self.calls = 0
        self.last: Tensor | None = None
        self.register_buffer("seen", torch.zeros(1))
        self.conv.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        torch.rand(1)
        self.last = self.norm(self.conv(x))
        if self.fails:
            raise RuntimeError("no")
        return self.drop(self.last)


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_and_the_random_state_are_left_as_they_were(fails: bool) -> None:
    module = Grumpy(fails)
    module.train()
    module.norm.eval()
    module.conv.weight.grad = torch.ones_like(module.conv.weight)
    hook = module.conv.register_forward_hook(lambda *_: None)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state, python_state = torch.get_rng_state(), random.getstate()
    if fails:
        with pytest.raises(TargetError, match=r"Grumpy fails on an input .*: RuntimeError: no"):
            measure_erf(module, (1, 4, 8, 8), FAST)
    else:
        measure_erf(module, (1, 4, 8, 8), FAST)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert (module.training, module.norm.training, module.drop.training) == (True, False, True)
    assert [weight.requires_grad for weight in module.parameters()] == [False, True, True, True]
    assert torch.equal(module.conv.weight.grad, torch.ones_like(module.conv.weight))
    assert (module.calls, module.last) == (0, None)
    assert list(module.conv._forward_hooks.values()) == [module.conv._forward_hooks[hook.id]]
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state


def test_parameters_keep_their_memory_and_are_not_copied() -> None:
    module = nn.Conv2d(4, 4, 3, padding=1)
    address = module.weight.data_ptr()
    measure_erf(module, (1, 4, 8, 8), replace(FAST, dtype="float64", layer_scale=1.0))
    assert module.weight.data_ptr() == address
    assert module.weight.dtype == torch.float32


def test_the_same_settings_give_the_same_map() -> None:
    first, second = (measure_erf(gelu_stack, (1, 4, 16, 16), FAST) for _ in range(2))
    assert np.array_equal(first.map, second.map)
    other = measure_erf(gelu_stack, (1, 4, 16, 16), replace(FAST, seed=9))
    assert not np.allclose(first.map, other.map)


def test_a_builder_that_ignores_its_seed_still_gives_different_initialisations() -> None:
    erf = measure_erf(lambda _seed: nn.Conv2d(4, 4, 3, padding=1), (1, 4, 16, 16), FAST)
    first, second = erf.per_initialisation
    assert first.centre_share != second.centre_share


def test_initialisations_are_pooled_with_their_spread() -> None:
    erf = measure_erf(gelu_stack, (1, 4, 16, 16), replace(FAST, seeds=3))
    alone = [measure_erf(gelu_stack(seed), (1, 4, 16, 16), FAST).metrics.sigma_px for seed in range(3)]
    assert len(erf.per_initialisation) == 3
    found = [metrics.sigma_px for metrics in erf.per_initialisation]
    assert found == pytest.approx(alone, rel=0.05)  # the same weights, other inputs
    assert erf.uncertainty.spread["sigma_px"] == pytest.approx(np.std(found, ddof=1))


def test_signs_survive_a_normalisation_that_cancels_ones() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), ChannelNorm())
    signs, ones = (measure_erf(module, (1, 4, 16, 16), replace(FAST, probe=probe)) for probe in ("signs", "ones"))
    assert ones.map.sum() < 1e-5 * signs.map.sum()
    assert any("rounding noise" in warning for warning in ones.warnings)
    assert signs.warnings == ()


def test_contributions_are_absolute_before_channels_are_summed() -> None:
    """A block that begins with a normalisation has signed gradients that sum to rounding noise over input channels."""
    module = nn.Sequential(ChannelNorm(), nn.Conv2d(4, 4, 3, padding=1))
    erf = measure_erf(module, (1, 4, 16, 16), FAST)
    assert erf.map[7:10, 7:10].min() > 0.01


def test_inner_layers_end_the_pass() -> None:
    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("what follows the layer must not run")

    module = nn.Sequential(nn.Sequential(constant_conv(3), constant_conv(3)), Never())
    erf = measure_erf(module, (1, 1, 16, 16), settings(layer="0.0"))
    assert erf.layer == "0.0"
    assert erf.receptive_field.height == 3


@pytest.mark.parametrize(
    ("layer", "message"),
    [("0.wieght", "Its outermost layers: 0, 1"), ("convs", "no layer 'convs'"), ("1", "takes no part")],
)
def test_unknown_layers_are_errors_that_name_the_known_ones(layer: str, message: str) -> None:
    class First(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)

    with pytest.raises(OptionError, match=message):
        measure_erf(First(constant_conv(3), constant_conv(3)), (1, 1, 8, 8), settings(layer=layer))


def test_a_depth_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(TargetError, match="fails on an input"):
        measure_erf(nn.Conv2d(4, 8, 3), (1, 4, 16, 16), replace(FAST, depth=2))


def test_outputs_that_are_no_map_are_errors() -> None:
    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).softmax(2).mean(2, keepdim=True)

    class Pyramid(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x, x]

    with pytest.raises(ShapeError, match=r"not \(N, C, H, W\): name another layer"):
        measure_erf(Tokens(), (1, 4, 8, 8), FAST)
    with pytest.raises(TargetError, match="the output is a list, not a tensor"):
        measure_erf(Pyramid(), (1, 4, 8, 8), FAST)


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 4, 0, 8)])
def test_shapes_must_be_nchw(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="needs an input shape"):
        measure_erf(nn.Identity(), shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statistic": "abz"}, "Did you mean 'abs'"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"precision": 2.0}, "relative error between 0 and 1"),
        ({"layer_scale": 0.0}, "must not be 0"),
        ({"dtype": "float16"}, "dtype is one of float32, float64, bfloat16"),
    ],
)
def test_settings_outside_their_range_are_errors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ErfSettings(**changes)  # type: ignore[arg-type]


def test_infinite_gradients_are_an_error_not_a_map() -> None:
    conv = constant_conv(3)
    conv.weight.data[0, 0, 0, 0] = float("inf")
    with pytest.raises(MeasurementError, match="not finite"):
        measure_erf(conv, (1, 1, 8, 8), settings())


def test_bfloat16_is_warned_of() -> None:
    erf = measure_erf(nn.Conv2d(4, 4, 3, padding=1), (1, 4, 8, 8), replace(FAST, dtype="bfloat16"))
    assert any("bfloat16 rounds" in warning for warning in erf.warnings)


def test_sampling_stops_at_the_precision_asked_for() -> None:
    loose = measure_erf(gelu_stack, (1, 4, 16, 16), ErfSettings(samples=256, seeds=2, precision=0.05, bootstrap=0))
    tight = measure_erf(gelu_stack, (1, 4, 16, 16), ErfSettings(samples=256, seeds=2, precision=0.003, bootstrap=0))
    assert loose.samples == 8
    assert loose.samples < tight.samples < 256
    assert tight.metrics.sigma_px == pytest.approx(loose.metrics.sigma_px, rel=0.1)


def test_more_samples_than_asked_precision_needs_are_never_drawn_beyond_the_limit() -> None:
    erf = measure_erf(gelu_stack, (1, 4, 16, 16), ErfSettings(samples=20, seeds=1, precision=1e-6, bootstrap=0))
    assert erf.samples == 20


def test_fewer_inputs_than_samples_are_said() -> None:
    erf = measure_erf(gelu_stack(0), (1, 4, 16, 16), replace(FAST, inputs=Given(torch.randn(3, 4, 16, 16))))
    assert erf.samples == 3
    assert any("4 samples asked for, given tensors holds 3" in warning for warning in erf.warnings)


def test_noise_outside_the_field_changes_nothing() -> None:
    """The same samples on boxes and on whole images, so that both give the same map."""
    boxes, whole = (
        measure_erf(gelu_stack, (1, 4, 32, 32), replace(FAST, dtype="float64", evaluation=evaluation))
        for evaluation in ("auto", "full")
    )
    assert np.abs(boxes.map - whole.map).max() <= 3e-15 * whole.map.max()
    assert (boxes.method, whole.method, whole.reason) == ("demand", "full", "asked for")


def test_time_and_field_do_not_depend_on_the_image_once_the_field_fits() -> None:
    small, large = (measure_erf(gelu_stack, (1, 4, size, size), FAST) for size in (48, 4096))
    assert np.array_equal(small.map[small.support.rows(whole(small)), small.support.columns(whole(small))],
                          large.map[large.support.rows(whole(large)), large.support.columns(whole(large))])  # fmt: skip
    assert large.metrics.sigma_px == pytest.approx(small.metrics.sigma_px)
    assert large.metrics.agd == pytest.approx(small.metrics.agd)


def whole(erf: Erf) -> object:
    from convbench.measures.erf import Box

    return Box.whole(*erf.map.shape)


@pytest.mark.parametrize(
    ("convolutions", "image", "position", "centre"),
    [
        # A ResNet's strides at 224: output pixel 3 looks at input pixel 96, output pixel 4 at 128.
        ([(7, 2, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1)], 224, 3, 96.0),
        # A ConvNeXt's patches at 224: output pixel 3 sees around 111.5, the middle.
        ([(4, 4, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)], 224, 3, 111.5),
        ([(3, 1, 1)], 64, 32, 32.0),
        ([(3, 1, 1)], 65, 32, 32.0),
        ([(3, 1, 0)], 64, 31, 32.0),
        ([(2, 1, 0)], 64, 31, 31.5),
        ([(8, 8, 0)], 20, 1, 11.5),
    ],
)
def test_the_probed_pixel_is_the_one_that_looks_at_the_middle(
    convolutions: list[tuple[int, int, int]], image: int, position: int, centre: float
) -> None:
    stack = nn.Sequential(*(constant_conv(k, stride=s, padding=p) for k, s, p in convolutions))
    erf = measure_erf(stack, (1, 1, image, image), settings())
    assert erf.position == (position, position)
    assert erf.centre == (centre, centre)


def test_a_normalisation_over_all_positions_leaves_the_centre() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 2, stride=2), nn.GroupNorm(1, 4))
    erf = measure_erf(module, (1, 4, 14, 14), FAST)
    assert (erf.position, erf.centre) == ((3, 3), (6.5, 6.5))
    assert erf.reason == "group_norm joins all positions"


def test_circular_padding_is_local_away_from_the_border() -> None:
    torch.manual_seed(0)
    convs = [nn.Conv2d(4, 4, 5, padding=2, padding_mode="circular") for _ in range(2)]
    erf = measure_erf(nn.Sequential(*convs), (1, 4, 64, 64), FAST)
    assert (erf.method, erf.field_source, erf.centre) == ("demand", "propagated", (32, 32))
    assert erf.receptive_field.height == 9


def test_a_crop_that_a_later_sample_outgrows_is_given_up() -> None:
    """Half of the samples carry their first pixel's sum along a row, which the two that probe may not show."""

    class Surprise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.local = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")

        def forward(self, x: Tensor) -> Tensor:
            y = self.local(x)
            return y + (x > 1.5).to(x.dtype).detach() * x.cumsum(3)

    chosen = ErfSettings(samples=300, seeds=1, bootstrap=0, dtype="float64")
    erf = measure_erf(Surprise(), (1, 1, 64, 64), chosen)
    assert (erf.method, erf.initialisations, erf.samples) == ("full", 1, 300)
    assert erf.map[32, 0] > 0
