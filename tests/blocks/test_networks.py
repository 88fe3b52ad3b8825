"""Sizes and costs of every network, their options, and what they give in either mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convblocks.catalogue import ENTRIES
from convblocks.networks.drconv_shufflenetv2 import drconv_shufflenetv2_x0_5
from convblocks.networks.pyconvresnet import pyconvhgresnet50, pyconvresnet18, pyconvresnet34, pyconvresnet50
from convblocks.networks.pyconvsegnet import PyConvSegNet, pyconvsegnet_resnet50
from convblocks.networks.uniconvnet import uniconvnet_a
from convblocks.uniconvnet import UniConvNetBlock
from tests.blocks.golden_data import fill, numbers
from tests.blocks.test_network_golden import factory

NAMES = [entry["name"] for entry in ENTRIES if entry["kind"] == "network"]
# One of each class: what holds for it holds for the larger ones, which differ in numbers only.
SMALLEST = ["uniconvnet_a", "conv2former_n", "pyconvresnet18", "pyconvhgresnet50", "drconv_shufflenetv2_x0_5"]

# Millions of parameters; millions of conv and linear MACs of one image at 224 (segmentation: 473).
SIZES = {
    "uniconvnet_a": (3.406732, 585.558),
    "uniconvnet_p0": (5.178864, 832.199),
    "uniconvnet_p1": (6.093960, 891.178),
    "uniconvnet_p2": (7.590300, 1245.050),
    "uniconvnet_n0": (10.253506, 1649.757),
    "uniconvnet_n1": (13.092286, 1872.797),
    "uniconvnet_n2": (15.036745, 2461.860),
    "uniconvnet_n3": (19.694569, 3366.007),
    "uniconvnet_t": (30.325652, 5084.652),
    "uniconvnet_s": (50.025735, 8469.635),
    "uniconvnet_b": (97.659176, 15840.647),
    "uniconvnet_l": (201.952670, 34330.178),
    "uniconvnet_xl": (226.703870, 39166.768),
    "conv2former_n": (14.992840, 2330.299),
    "conv2former_t": (26.697204, 4360.505),
    "conv2former_s": (50.032692, 8708.384),
    "conv2former_b": (90.029112, 15890.113),
    "conv2former_l": (198.893736, 36037.482),
    "pyconvresnet18": (5.911976, 863.138),
    "pyconvresnet34": (11.091048, 1734.795),
    "pyconvresnet50": (24.847720, 3820.442),
    "pyconvresnet101": (42.307944, 7232.410),
    "pyconvresnet152": (56.640872, 10605.842),
    "pyconvhgresnet50": (25.234728, 4533.944),
    "pyconvhgresnet101": (44.627240, 8321.229),
    "pyconvhgresnet152": (60.657960, 12152.668),
    "pyconvsegnet_resnet50": (34.397548, 107361.920),
    "pyconvsegnet_resnet101": (53.389676, 175545.574),
    "pyconvsegnet_resnet152": (69.033324, 231696.819),
    "pyconvsegnet_pyconvresnet50": (33.688236, 104670.221),
    "pyconvsegnet_pyconvresnet101": (51.148460, 167339.021),
    "pyconvsegnet_pyconvresnet152": (65.481388, 218771.674),
    "pyconvsegnet_pyconvhgresnet50": (34.075244, 107242.986),
    "pyconvsegnet_pyconvhgresnet101": (53.467756, 176805.354),
    "pyconvsegnet_pyconvhgresnet152": (69.498476, 234294.762),
    "drconv_shufflenetv2_x0_5": (2.293792, 179.709),
    "drconv_shufflenetv2_x1_0": (7.273976, 917.929),
    "drconv_shufflenetv2_x1_5": (14.778656, 2054.491),
}


def meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return factory(name)(**options).eval()


def macs(network: nn.Module, size: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2


def test_every_network_has_a_known_size() -> None:
    assert list(SIZES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_size(name: str) -> None:
    assert sum(parameter.numel() for parameter in meta(name).parameters()) == round(SIZES[name][0] * 1e6)


@pytest.mark.parametrize(
    "name", [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_cost(name: str) -> None:
    assert macs(meta(name), 473 if "segnet" in name else 224) == pytest.approx(SIZES[name][1] * 1e6, abs=501)


@pytest.mark.parametrize("name", SMALLEST)
def test_any_classes_channels_and_image_shape(name: str) -> None:
    network = meta(name, num_classes=7, in_chans=5)
    with torch.no_grad():
        assert network(torch.empty(2, 5, 96, 33, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", SMALLEST)
def test_no_classes_leaves_the_pooled_features(name: str) -> None:
    with torch.no_grad():
        pooled = meta(name, num_classes=0)(torch.empty(2, 3, 64, 64, device="meta"))
    expected = {"uniconvnet_a": 192, "conv2former_n": 1280, "pyconvresnet18": 512, "pyconvhgresnet50": 2048}
    assert pooled.shape == (2, expected.get(name, 1024))


@pytest.mark.parametrize("name", SMALLEST)
def test_features_only_gives_the_stages_maps(name: str) -> None:
    with torch.no_grad():
        maps = meta(name, features_only=True)(torch.empty(1, 3, 64, 96, device="meta"))
    strides = [8, 16, 32] if "shufflenet" in name else [4, 8, 16, 32]
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(stride, stride) for stride in strides]
    keys = {key for key, _ in meta(name, features_only=True).state_dict().items()}
    assert keys < {key for key, _ in meta(name).state_dict().items()}


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize(
    ("options", "message"), [({"num_classes": -1}, "num_classes must be"), ({"in_chans": 0}, "in_chans must be")]
)
def test_bad_options_are_clear_errors(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta(name, **options)


def test_wrong_number_of_channels_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"takes an input of shape \(N, 3, H, W\), got \(1, 4, 32, 32\)"):
        pyconvresnet18()(torch.zeros(1, 4, 32, 32))


@pytest.mark.parametrize(
    ("build", "params", "mega_macs"), [(pyconvresnet18, 11_21, 1550), (pyconvresnet34, 20_44, 3090)]
)
def test_first_form_of_basic_blocks_has_its_published_size(build: object, params: int, mega_macs: float) -> None:
    assert callable(build)
    with torch.device("meta"):
        network = build(basic_block=1).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e4 == pytest.approx(params, abs=0.5)
    # The published figure counts batch norm, ReLU and pooling too.
    assert mega_macs * 0.97 < macs(network, 224) / 1e6 < mega_macs


def test_unknown_basic_block_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"basic_block must be 1 .* or 2 .*, got 3"):
        pyconvresnet18(basic_block=3)


@pytest.mark.parametrize("build", [uniconvnet_a, pyconvresnet18, pyconvhgresnet50, drconv_shufflenetv2_x0_5])
def test_training_reaches_every_parameter(build: object) -> None:
    assert callable(build)
    torch.manual_seed(0)
    network = fill(build(num_classes=5)).train()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_drop_path_rises_linearly_over_the_blocks() -> None:
    network = uniconvnet_a(drop_path_rate=0.3)
    rates = [module.drop_path.rate for module in network.modules() if isinstance(module, UniConvNetBlock)]
    assert rates == pytest.approx([0.3 * i / 15 for i in range(16)])


def test_drop_path_drops_whole_samples_in_training_only() -> None:
    torch.manual_seed(0)
    block = fill(UniConvNetBlock(8, drop_path=0.5))
    x = numbers((1, 8, 5, 5), 10000).float().expand(256, -1, -1, -1)
    y = block.train()(x)
    unchanged = (y == x).flatten(1).all(1).float().mean()
    assert unchanged == pytest.approx(0.5**3, abs=0.06)
    assert torch.equal(block.eval()(x)[0], block(x)[1])


def test_fresh_uniconvnet_is_initialised_as_published() -> None:
    torch.manual_seed(0)
    network = uniconvnet_a()
    block = network.stages[2][0]
    assert network.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.attn.a3[2].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not block.dcn.offset.weight.any()
    assert not block.dcn.mask.weight.any()
    assert block.dcn.input_proj.weight.abs().max() <= (6 / 192) ** 0.5
    assert block.dcn.input_proj.weight.std().item() == pytest.approx((2 / 192) ** 0.5, rel=0.05)
    assert (block.gamma1 == 1e-6).all()
    assert (uniconvnet_a(layer_scale_init=0.5).stages[3][1].layer_scale == 0.5).all()


def test_fresh_uniconvnet_sees_only_its_stem_and_downsampling() -> None:
    torch.manual_seed(0)
    network = uniconvnet_a(features_only=True).eval().requires_grad_(False)
    x = torch.randn(1, 3, 256, 256, requires_grad=True)
    centre = network(x)[-1][0, :, 4, 4].sum()
    (gradient,) = torch.autograd.grad(centre, x)
    visible = gradient.abs().sum((0, 1)) > 1e-4 * gradient.abs().max()
    rows = visible.any(1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 <= 63


def test_algorithmic_macs_of_drconv_shufflenet() -> None:
    network = meta("drconv_shufflenetv2_x0_5")
    saved = 0

    def hear(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        x, _guide = inputs
        pixels = x.shape[2] * x.shape[3]
        every = 8 * pixels * module.conv.weight.numel() // 8 + module.conv.macs(1)
        nonlocal saved
        saved += every - module.algorithmic_macs(*inputs)

    for module in network.modules():
        if hasattr(module, "algorithmic_macs"):
            module.register_forward_hook(hear)
    # Published as 46 M: 40.48 M static, 43.65 M with the guides and the routing, 50.10 M with mixing the experts.
    assert macs(network, 224) - saved == pytest.approx(50.10e6, abs=5e3)


SEG_SIZE = 57


def segnet(**options: object) -> PyConvSegNet:
    torch.manual_seed(0)
    return PyConvSegNet("pyconvresnet", 50, num_classes=6, **options)


@pytest.mark.slow
@pytest.mark.parametrize("zoom_factor", [1, 2, 4, 8])
def test_segmentation_trains_at_any_zoom(zoom_factor: int) -> None:
    network = segnet(zoom_factor=zoom_factor).train()
    target = torch.randint(0, 6, (2, SEG_SIZE, SEG_SIZE))
    target[0, :9] = 255
    prediction, loss, aux_loss = network(torch.randn(2, 3, SEG_SIZE, SEG_SIZE), target)
    side = (SEG_SIZE - 1) // 8 * zoom_factor + 1
    assert prediction.shape == (2, side, side)
    assert prediction.dtype == torch.int64
    (loss + 0.4 * aux_loss).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
def test_segmentation_loss_is_the_cross_entropy_of_its_logits_at_aligned_pixels() -> None:
    network = segnet(zoom_factor=2, dropout=0.0).train()
    x, target = torch.randn(2, 3, SEG_SIZE, SEG_SIZE), torch.randint(0, 6, (2, SEG_SIZE, SEG_SIZE))
    target[1, ::4, ::4] = 255
    logits = network(x)
    prediction, loss, _ = network(x, target)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, target[:, ::4, ::4], ignore_index=255))
    assert torch.equal(prediction, logits.argmax(1))


@pytest.mark.parametrize("backbone", ["resnet", "pyconvresnet", "pyconvhgresnet"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_segmentation_keeps_the_map_at_its_output_stride(backbone: str, output_stride: int) -> None:
    network = meta(f"pyconvsegnet_{backbone}50", output_stride=output_stride)
    maps: list[tuple[int, ...]] = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: maps.append(tuple(output.shape[1:])))
    assert network(torch.empty(1, 3, 97, 105, device="meta")).shape == (1, 150, 97, 105)
    heights = [25, 13, 13, 13] if output_stride == 8 else [25, 13, 7, 7]
    assert [shape[1] for shape in maps] == heights
    assert [shape[0] for shape in maps] == [256, 512, 1024, 2048]
    dilations = {m.dilation[0] for m in network.layer4.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1}
    assert dilations == {4 if output_stride == 8 else 2}
    assert {m.stride[0] for m in network.layer4.modules() if isinstance(m, nn.Conv2d)} == {1}


def test_segmentation_without_auxiliary_head() -> None:
    network = segnet(aux=False).train()
    assert not any(key.startswith("aux") for key in network.state_dict())
    target = torch.zeros(2, 33, 33, dtype=torch.long)
    assert network(torch.randn(2, 3, 33, 33), target)[2] is None


def test_segmentation_ignores_a_target_in_evaluation() -> None:
    network = segnet().eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 33, 33), torch.zeros(1, 33, 33, dtype=torch.long)).shape == (1, 6, 33, 33)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 32}, "output_stride must be 8 or 16, got 32"),
        ({"zoom_factor": 3}, "zoom_factor must be 1, 2, 4 or 8, got 3"),
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0"),
        ({"dropout": 1.5}, "dropout must be at least 0 and less than 1, got 1.5"),
    ],
)
def test_bad_segmentation_options_are_clear_errors(options: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        pyconvsegnet_resnet50(**options)


@pytest.mark.parametrize(("backbone", "layers"), [("resnet", 18), ("pyconv", 50)])
def test_unknown_backbone_is_a_clear_error(backbone: str, layers: int) -> None:
    with pytest.raises(ValueError, match=r"PyConvSegNet: (layers|backbone) must be"):
        PyConvSegNet(backbone, layers)  # type: ignore[arg-type]


def test_image_size_that_does_not_fit_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, got 224 \(nearest: 217, 225\)"):
        meta("pyconvsegnet_resnet50")(torch.empty(1, 3, 224, 225, device="meta"))


def test_pyconvresnet_pools_its_strided_shortcuts() -> None:
    with torch.device("meta"):
        network = pyconvresnet50()
    assert isinstance(network.layer2[0].downsample[0], nn.MaxPool2d)
    assert network.layer2[1].downsample is None
