"""Every option of the five papers' blocks and networks: exact parameter counts, output sizes, and what they compute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import convblocks as cb
from convblocks import factories
from convblocks.networks import pyconvresnet
from convblocks.networks.pyconvsegnet import PyConvSegNet
from convblocks.norm import norm_builder
from tests.blocks.golden_data import fill, numbers

C, H, W = 64, 20, 18
UNEVEN = [16, 16, 8, 24]
# Weights of the levels 3, 5, 7, 9 with groups 1, 4, 8, 8 (8 is what 16, 64 and 24 have in common) to uneven widths.
UNEVEN_WEIGHTS = 16 * 64 * 9 + 16 * 16 * 25 + 8 * 8 * 49 + 24 * 8 * 81
# The same of even widths, 16 each, with groups 1, 4, 8, 16; of two levels of 32; of three, 16, 16 and 32.
FOUR = 16 * 64 * 9 + 16 * 16 * 25 + 16 * 8 * 49 + 16 * 4 * 81
TWO = 32 * 64 * 9 + 32 * 16 * 25
THREE = 16 * 64 * 9 + 16 * 16 * 25 + 32 * 8 * 49

# Block; parameters; output channels, height and width; MACs a pixel of the output.
FORMS: list[tuple[Callable[[], nn.Module], int, tuple[int, int, int], int]] = [
    (lambda: factories.pyconv(C, UNEVEN), UNEVEN_WEIGHTS, (64, 20, 18), UNEVEN_WEIGHTS),
    (lambda: factories.pyconv(C, UNEVEN, bias=True), UNEVEN_WEIGHTS + 64, (64, 20, 18), UNEVEN_WEIGHTS),
    (lambda: factories.pyconv(C, bias=True, stride=[1, 2]), FOUR + 64, (64, 20, 9), FOUR),
    (lambda: factories.pyconv(C, stride=(2, 3), dilation=(3, 2)), FOUR, (64, 10, 6), FOUR),
    (lambda: factories.pyconv_bn_relu(C), FOUR + 3 * 64, (64, 20, 18), FOUR),
    (lambda: factories.pyconv_bn_relu(C, UNEVEN, bias=False), UNEVEN_WEIGHTS + 2 * 64, (64, 20, 18), UNEVEN_WEIGHTS),
    (lambda: factories.pyconv_bn_relu(C, dilation=2, stride=[2, 1]), FOUR + 3 * 64, (64, 10, 18), FOUR),
    (lambda: factories.pyconv2d(C), FOUR, (64, 20, 18), FOUR),
    (lambda: factories.pyconv2d(C, UNEVEN, bias=True), UNEVEN_WEIGHTS + 64, (64, 20, 18), UNEVEN_WEIGHTS),
    (lambda: factories.pyconv2d(C, [8] * 5, [1, 3, 5, 7, 9], [1] * 5), 512 * 165, (40, 20, 18), 512 * 165),
    (lambda: factories.pyconv2(C), TWO, (64, 20, 18), TWO),
    (lambda: factories.pyconv2(C, [8, 24], groups=[8, 2]), 8 * 8 * 9 + 24 * 32 * 25, (32, 20, 18), 19776),
    (lambda: factories.pyconv3(C, bias=True), THREE + 64, (64, 20, 18), THREE),
    (lambda: factories.pyconv4(C, stride=2), FOUR, (64, 10, 9), FOUR),
    (lambda: factories.pyconv_basic_block1(C), 2 * FOUR + 4 * 64, (64, 20, 18), 2 * FOUR),
    (lambda: factories.pyconv_basic_block2(C), FOUR + 64**2 + 4 * 64, (64, 20, 18), FOUR + 64**2),
    (
        lambda: factories.pyconv_basic_block2(C, 128, [3, 5], stride=2),
        2 * TWO + 128**2 + 64 * 128 + 6 * 128,
        (128, 10, 9),
        2 * TWO + 128**2 + 64 * 128,
    ),
    (
        lambda: factories.pyconv_bottleneck(C, 64, [3, 5], expansion=1, norm_layer="layer", dilation=2),
        2 * 64**2 + TWO + 6 * 64,
        (64, 20, 18),
        2 * 64**2 + TWO,
    ),
    (
        lambda: factories.refconv(C, 32, padding=2, dilation=2, bias=True, stride=[1, 2]),
        64 * 32 * 9 + 32,
        (32, 20, 9),
        64 * 32 * 9,
    ),
    (lambda: factories.refconv(C, 32, map_k=2, kernel_size=5), 64 * 32 * 4, (32, 20, 18), 64 * 32 * 25),
    (
        lambda: factories.refconv(C, kernel_size=4, map_k=4, padding=1, groups=8),
        64 * 64 * 16,
        (64, 19, 17),
        64 * 8 * 16,
    ),
    (lambda: factories.refconv(C, padding="same", dilation=3), 64 * 64 * 9, (64, 20, 18), 64 * 64 * 9),
    (lambda: factories.refconv(C, padding="valid"), 64 * 64 * 9, (64, 18, 16), 64 * 64 * 9),
]


def macs(module: nn.Module, channels: int = C) -> tuple[int, torch.Size]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        y = module.to("meta").eval()(torch.empty(1, channels, H, W, device="meta"))
    return counter.get_total_flops() // 2, y.shape[1:]


@pytest.mark.parametrize(("build", "params", "shape", "each"), FORMS, ids=[str(index) for index in range(len(FORMS))])
def test_options_give_their_closed_form(
    build: Callable[[], nn.Module], params: int, shape: tuple[int, int, int], each: int
) -> None:
    block = build()
    assert sum(parameter.numel() for parameter in block.parameters()) == params
    # RefConv's map of its kernel: in·out·k²·map_k² whatever the image, here by the basis's own size.
    own = block.weight.numel() * block.convmap.weight[0].numel() if isinstance(block, cb.RefConv) else 0
    counted, given = macs(block)
    assert (counted, given) == (each * shape[1] * shape[2] + own, shape)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("map_k", [1, 2, 3, 4])
def test_refconv_maps_its_kernel_by_even_and_odd_maps(kernel_size: int, map_k: int) -> None:
    if map_k > kernel_size:
        with pytest.raises(ValueError, match=f"map_k must not exceed the kernel size {kernel_size}"):
            cb.RefConv(4, 6, kernel_size, map_k=map_k)
        return
    block = fill(cb.RefConv(4, 6, kernel_size, groups=2, map_k=map_k, bias=True)).double()
    before, after = (map_k - 1) // 2, map_k // 2
    image = F.pad(block.weight.view(1, 12, kernel_size, kernel_size), (before, after, before, after))
    change = F.conv2d(image, block.convmap.weight, groups=6).view_as(block.weight)
    x = numbers((2, 4, 9, 8), 10000).double()
    expected = F.conv2d(x, block.weight + change, block.bias, padding=kernel_size // 2, groups=2)
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(cb.fuse(block)(x), expected)


def region_by_region(x: Tensor, filters: Tensor, guide: Tensor, **where: tuple[int, int]) -> Tensor:
    """What the chosen region's whole convolution gives at each pixel."""
    samples = []
    for image, own, scores in zip(x, filters, guide, strict=True):
        every = torch.stack([F.conv2d(image[None], weight, **where)[0] for weight in own])
        samples.append(every.gather(0, scores.argmax(0).expand(1, every.shape[1], -1, -1))[0])
    return torch.stack(samples)


@pytest.mark.parametrize("kernel_size", [2, 3])
def test_drconv_pads_dilates_strides_and_adds(kernel_size: int) -> None:
    options = {"kernel_size": kernel_size, "stride": [2, 1], "padding": [0, 3], "dilation": [1, 2], "bias": True}
    where = {"stride": (2, 1), "padding": (0, 3), "dilation": (1, 2)}
    x = numbers((2, 4, 12, 10), 10000).double()
    size = [(12 - kernel_size) // 2 + 1, 10 + 6 - 2 * (kernel_size - 1)]
    plain = fill(factories.drconv(4, 6, regions=3, **options)).double().eval()
    filters = plain.conv_kernel(x).view(2, 3, 6, 4, kernel_size, kernel_size)
    expected = region_by_region(x, filters, plain.conv_guide(x), **where) + plain.bias.view(-1, 1, 1)
    torch.testing.assert_close(plain(x), expected)
    assert list(expected.shape[2:]) == size
    k2, pixels = kernel_size**2, 2 * size[0] * size[1]
    assert sum(p.numel() for p in plain.parameters()) == 4 * 9 + 9 + 9 * 24 + 3 * 24 + 3 * 4 * k2 + 3 + 6
    assert plain.algorithmic_macs(x) == pixels * (24 + 12) * k2 + 2 * k2 * (4 * 9 + 9 * 24)

    experts = fill(factories.drconv_experts(4, 6, regions=3, experts=2, **options)).double().eval()
    guide = F.interpolate(experts.masknet(x), size=size, mode="nearest")
    expected = region_by_region(x, experts.conv(x), guide, **where) + experts.bias.view(-1, 1, 1)
    torch.testing.assert_close(experts(x), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: factories.pyconv(C, [16, 16, 8]), "one entry a level, got \\[16, 16, 8\\]"),
        (lambda: factories.pyconv2(C, kernels=[3, 5, 7]), "one entry a level|has 2 levels"),
        (lambda: factories.pyconv(C, stride=[1, 2, 3]), "stride must be a whole number or two of them"),
        (lambda: factories.pyconv(C, dilation=[1, 0]), "dilation must be a whole number of at least 1, got 0"),
        (lambda: factories.refconv(C, padding="full"), "padding must be a whole number, two of them, same or valid"),
        (lambda: factories.refconv(C, padding="same", stride=2), "padding same needs a stride of 1"),
        (lambda: factories.refconv(C, kernel_size=4), "kernel_size must be odd"),
        (lambda: factories.drconv(C, padding=[1, -1]), "padding must be a whole number of at least 0, got -1"),
        (
            lambda: factories.pyconv_bottleneck(C, norm_layer="weight"),
            "norm must be one of batch, group, instance, layer",
        ),
        (lambda: pyconvresnet.pyconvresnet18(dropout_prob0=1.5), "dropout_prob0 must be at least 0 and less than 1"),
        (lambda: PyConvSegNet("resnet", 50, criterion="mse"), "criterion must be one of cross_entropy, focal"),
    ],
)
def test_bad_option_is_a_clear_error(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build()


def test_zero_residuals_leave_the_shortcuts() -> None:
    for basic_block in (1, 2):
        network = pyconvresnet.pyconvresnet18(10, basic_block=basic_block, zero_init_residual=True).eval()
        x = torch.randn(1, 64, 8, 8)
        torch.testing.assert_close(network.layer1[1](x), x.relu())
    with torch.device("meta"):
        deep = pyconvresnet.pyconvresnet50(10)
    assert len([1 for name, _ in deep.named_modules() if name.endswith("bn3")]) == 16


def test_dropout_is_the_classifier_s() -> None:
    network = pyconvresnet.pyconvresnet18(10, dropout_prob0=0.9)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.9]
    network.fc.bias.data.zero_()
    x = torch.randn(2, 3, 32, 32)
    kept = []
    handle = network.fc.register_forward_pre_hook(lambda _, inputs: kept.append((inputs[0] != 0).float().mean().item()))
    torch.manual_seed(0)
    network(x)
    handle.remove()
    assert 0.02 < kept[0] < 0.2


@pytest.mark.parametrize("norm", ["group", nn.Identity])
def test_norm_is_everywhere(norm: str | type[nn.Module]) -> None:
    with torch.device("meta"):
        built = type(norm_builder("test", norm)(64))
        for network in (
            pyconvresnet.pyconvresnet18(10, norm_layer=norm),
            pyconvresnet.pyconvhgresnet50(10, norm_layer=norm),
            PyConvSegNet("pyconvresnet", 50, norm_layer=norm),
            PyConvSegNet("resnet", 50, norm_layer=norm),
        ):
            plain = type(network).__name__
            assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), plain
            assert sum(isinstance(module, built) for module in network.modules()) > 18


def test_criterion_is_the_loss_of_training() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(2, 3, 33, 33), torch.randint(0, 5, (2, 33, 33))
    target[:, :4] = 255
    seen = []

    def criterion(logits: Tensor, goal: Tensor) -> Tensor:
        seen.append((logits.detach(), goal))
        return logits.sum() * 0 + 3

    network = PyConvSegNet("resnet", 50, 5, zoom_factor=1, norm_layer="group", criterion=criterion)
    _, loss, aux = network(x, target)
    assert (loss.item(), aux.item(), len(seen)) == (3, 3, 2)
    logits, goal = seen[0]
    kept = goal != 255
    p = logits.softmax(1).gather(1, goal.where(kept, 0)[:, None])[:, 0][kept]
    for name, expected in (("cross_entropy", -p.log()), ("focal", -((1 - p) ** 2) * p.log())):
        named = PyConvSegNet("resnet", 50, 5, criterion=name).criterion
        torch.testing.assert_close(named(logits, goal), expected.mean())
