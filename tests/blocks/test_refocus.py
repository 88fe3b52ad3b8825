"""Refocusing a host's convolutions and fusing them back: the same function, the baseline's keys and cost."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convblocks import RefConv, RefConvBlock, fuse, refocus
from tests.blocks.golden_data import relative_error, state_keys

Host = Callable[[], nn.Module]


def from_timm(name: str) -> Host:
    return lambda: pytest.importorskip("timm").create_model(name, num_classes=10)


def from_torchvision(name: str) -> Host:
    return lambda: getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10)


# Host and the number of its k×k convs without and with a bias.
HOSTS: dict[str, tuple[Host, int, int]] = {
    "timm mobilenetv2_100": (from_timm("mobilenetv2_100"), 18, 0),
    "timm mobilenetv3_small_100": (from_timm("mobilenetv3_small_100"), 12, 0),
    "timm resnet18": (from_timm("resnet18"), 17, 0),
    "timm densenet121": (from_timm("densenet121"), 59, 0),
    "timm convnext_atto": (from_timm("convnext_atto"), 0, 12),
    "torchvision mobilenet_v2": (from_torchvision("mobilenet_v2"), 18, 0),
    "torchvision mobilenet_v3_small": (from_torchvision("mobilenet_v3_small"), 12, 0),
    "torchvision resnet18": (from_torchvision("resnet18"), 17, 0),
    "torchvision shufflenet_v2_x0_5": (from_torchvision("shufflenet_v2_x0_5"), 20, 0),
    "torchvision densenet121": (from_torchvision("densenet121"), 59, 0),
    "torchvision convnext_tiny": (from_torchvision("convnext_tiny"), 0, 18),
}
each_host = pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("timm mobilenetv3_small_100", "torchvision shufflenet_v2_x0_5", "timm convnext_atto")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in HOSTS
    ],
)


def host(name: str) -> nn.Module:
    """The host with weights and statistics that make every layer matter."""
    torch.manual_seed(0)
    model = HOSTS[name][0]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.running_var, 0.7, 1.3)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return model.eval()


def swapped(model: nn.Module, biased: bool = False) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return refocus(model, biased=biased)


def refconvs(model: nn.Module) -> list[RefConv]:
    return [module for module in model.modules() if isinstance(module, RefConv)]


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def macs(model: nn.Module) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).to("meta")(images(1).to("meta"))
    return counter.get_total_flops() // 2


@each_host
def test_refocused_network_is_the_host_until_it_is_trained(name: str) -> None:
    model, (_, free, with_bias) = host(name), HOSTS[name]
    assert len(refconvs(swapped(model))) == free
    focused = swapped(model, biased=True)
    assert len(refconvs(focused)) == free + with_bias
    with torch.inference_mode():
        expected = model(images())
        assert relative_error(focused(images()), expected) <= 1e-6
        assert relative_error(fuse(focused)(images()), expected) <= 1e-6


@each_host
def test_fused_network_equals_the_trained_one(name: str) -> None:
    focused = swapped(host(name), biased=True).train()
    trained = [parameter for key, parameter in focused.named_parameters() if "convmap" in key]
    optimizer = torch.optim.SGD(trained, lr=1e-3)
    focused(images(4)).square().mean().backward()
    optimizer.step()
    assert all(parameter.abs().sum() > 0 for parameter in trained)
    focused.eval()
    fused = fuse(focused)
    with torch.inference_mode():
        assert relative_error(fused(images()), focused(images())) <= 1e-5
    assert not refconvs(fused)


@each_host
def test_fused_network_has_the_host_s_keys_and_cost(name: str) -> None:
    model = host(name)
    focused = swapped(model, biased=True)
    fused = fuse(focused)
    assert {k: v.shape for k, v in fused.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert {k for k, _ in fused.named_parameters()} == {k for k, _ in model.named_parameters()}
    assert macs(fused) == macs(model)
    extra = sum(conv.weight.numel() * 9 * conv.convmap.weight.shape[1] for conv in refconvs(focused))
    assert macs(focused) == macs(model) + extra


@each_host
def test_host_s_checkpoint_loads_with_only_the_maps_missing(name: str) -> None:
    model = host(name)
    focused = swapped(HOSTS[name][0]())
    result = focused.load_state_dict(model.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith("convmap.weight") for key in result.missing_keys)
    assert len(result.missing_keys) == HOSTS[name][1]
    with torch.inference_mode():
        assert relative_error(focused.eval()(images()), model(images())) <= 1e-6


def test_dense_resnet50_trains_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = pytest.importorskip("torchvision.models").resnet50()
        focused = refocus(model)
    assert sum(parameter.numel() for parameter in focused.parameters()) == 25_549_352


def test_maps_have_the_published_shapes() -> None:
    keys, baseline = state_keys("refconv_mobilenetv3_small"), state_keys("refconv_mobilenetv3_small_baseline")
    assert {key: shape for key, shape in keys.items() if not key.endswith("convmap.weight")} == baseline
    for key in keys.keys() - baseline.keys():
        out, per_group, k, _ = keys[key.replace("convmap.", "")]
        groups = 1 if key.startswith("features.0.") else out
        conv = RefConv(per_group * groups, out, k, groups=groups)
        assert tuple(conv.convmap.weight.shape) == keys[key]


def host_of_every_kind() -> nn.Sequential:
    shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        shared,
        nn.Conv2d(4, 4, 3, bias=True),
        nn.Conv2d(4, 4, (1, 3), bias=False),
        nn.Conv2d(4, 4, 4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", bias=False),
        shared,
        nn.Conv2d(4, 6, 5, stride=2, padding=2, groups=2, bias=False),
        nn.Conv1d(6, 6, 3, bias=False),
    )


def test_only_odd_square_bias_free_convs_are_replaced() -> None:
    model = host_of_every_kind()
    kinds = [type(module) for module in refocus(model)]
    plain = nn.Conv2d
    assert kinds == [plain, RefConv, plain, plain, plain, plain, RefConv, RefConv, nn.Conv1d]
    assert [type(module) for module in refocus(model, biased=True)][2] is RefConv
    assert [type(module) for module in refocus(model, map_k=5)][1] is plain
    assert [type(module) for module in refocus(model, map_k=5)][7] is RefConv


def test_shared_conv_stays_shared() -> None:
    focused = refocus(host_of_every_kind())
    assert focused[1] is focused[6]
    fused = fuse(focused)
    assert fused[1] is fused[6]


def test_subclass_with_its_own_forward_is_left_alone() -> None:
    class Halved(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    with pytest.warns(UserWarning, match="no bias-free odd"):
        model = refocus(nn.Sequential(Halved(3, 3, 3, bias=False)))
    assert type(model[0]) is Halved


def test_original_is_untouched_unless_asked() -> None:
    model = host_of_every_kind()
    focused = refocus(model)
    assert not refconvs(model)
    assert refconvs(focused)
    fused = fuse(focused)
    assert refconvs(focused)
    assert not refconvs(fused)
    assert refocus(model, inplace=True) is model
    assert refconvs(model)
    assert fuse(model, inplace=True) is model
    assert not refconvs(model)


def test_single_conv_and_single_refconv_are_replaced_themselves() -> None:
    conv, x = nn.Conv2d(3, 4, 3, bias=False), torch.randn(1, 3, 6, 6)
    focused = refocus(conv)
    assert isinstance(focused, RefConv)
    fused = fuse(focused)
    assert type(fused) is nn.Conv2d
    torch.testing.assert_close(fused(x), conv(x))


def test_block_is_fused_under_its_own_keys() -> None:
    block = RefConvBlock(4, 6).eval()
    fused, x = fuse(block), torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(fused(x), block(x))
    assert fused.state_dict().keys() == block.state_dict().keys() - {"conv.convmap.weight"}


def test_frozen_dtype_mode_and_device_are_kept() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False, dtype=torch.float64)).eval()
    focused = refocus(model)
    assert focused[0].convmap.weight.dtype == torch.float64
    assert not focused[0].training
    assert refocus(model.to("meta"))[0].convmap.weight.is_meta


def test_default_map_starts_at_zero_and_can_start_as_published() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    assert not refocus(model)[0].convmap.weight.any()
    assert refocus(model, zero_init=False)[0].convmap.weight.any()


def test_model_without_a_fitting_conv_is_a_warning_that_says_what_to_do() -> None:
    with pytest.warns(UserWarning, match="biased=True takes convs with a bias as well"):
        refocus(nn.Sequential(nn.Conv2d(3, 3, 3)))


@pytest.mark.parametrize(("map_k", "message"), [(4, "map_k must be odd"), (1, "map_k must be at least 3, got 1")])
def test_bad_map_is_a_clear_error(map_k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refocus(nn.Sequential(), map_k=map_k)
