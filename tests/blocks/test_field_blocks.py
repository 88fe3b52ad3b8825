"""The field's blocks against independent implementations and against their equations, written out, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convblocks as cb
from convblocks import fuse
from tests.blocks.golden_data import fill, numbers


def filled(module: nn.Module) -> nn.Module:
    return fill(module).double().eval()


def features(channels: int, height: int = 9, width: int = 8) -> Tensor:
    return numbers((2, channels, height, width), 10000).double()


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def twin(ours: nn.Module, theirs: nn.Module) -> nn.Module:
    """``theirs`` with our weights: by their keys where those are the same, else in the order of registration."""
    ours_state, state = ours.state_dict(), theirs.double().state_dict()
    if ours_state.keys() == state.keys():
        theirs.load_state_dict(ours_state)
        return theirs.eval()
    assert [value.numel() for value in state.values()] == [value.numel() for value in ours_state.values()]
    pairs = zip(state, ours_state.values(), strict=True)
    theirs.load_state_dict({key: value.reshape(state[key].shape) for key, value in pairs})
    return theirs.eval()


def timm(path: str, *arguments: object, **options: object) -> nn.Module:
    module, _, name = path.rpartition(".")
    found = pytest.importorskip(f"timm.{module}")
    built: nn.Module = getattr(found, name)(*arguments, **options)
    return built


PEERS: list[tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], int]] = [
    ("SE", lambda: cb.SE(16, 4), lambda: timm("layers.SEModule", 16, rd_channels=4), 16),
    ("ECA", lambda: cb.ECA(16), lambda: timm("layers.EcaModule", 16), 16),
    (
        "CoordAtt",
        lambda: cb.CoordAtt(16),
        lambda: timm("layers.coord_attn.CoordAttn", 16, rd_channels=8, bias=True),
        16,
    ),
    (
        "InceptionDWConv",
        lambda: cb.InceptionDWConv(16),
        lambda: timm("models.inception_next.InceptionDWConv2d", 16),
        16,
    ),
    ("MixConv", lambda: cb.MixConv(18), lambda: timm("layers.MixedConv2d", 18, 18, [3, 5, 7, 9], depthwise=True), 18),
    ("GhostConv", lambda: cb.GhostConv(8, 9), lambda: timm("models.ghostnet.GhostModule", 8, 9), 8),
    ("PConv", lambda: cb.PConv(8), lambda: timm("models.fasternet.Partial_conv3", 8, 4, "split_cat"), 8),
    ("StarBlock", lambda: cb.StarBlock(8), lambda: timm("models.starnet.Block", 8, 4), 8),
    (
        "FocalModulation",
        lambda: cb.FocalModulation(8),
        lambda: timm("models.focalnet.FocalModulation", 8, 3, 2, use_post_norm=False),
        8,
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "channels"), [row[1:] for row in PEERS], ids=[row[0] for row in PEERS])
def test_agrees_with_the_layer_of_timm(
    ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module], channels: int
) -> None:
    module, x = filled(ours()), features(channels)
    agree(module(x), twin(module, theirs())(x))


def test_channels_of_cbam_agree_with_timm() -> None:
    block, x = filled(cb.CBAM(16, 4)), features(16)
    nn.init.zeros_(block.spatial.weight)  # the gate over places is a half everywhere
    theirs = timm("layers.cbam.ChannelAttn", 16, rd_channels=4)
    agree(block(x), twin(block.mlp, theirs)(x) / 2)


def test_places_of_cbam_are_gated_by_their_mean_and_maximum() -> None:
    block, x = filled(cb.CBAM(8, 2)), features(8)
    for conv in (block.mlp[0], block.mlp[2]):
        nn.init.zeros_(conv.weight)  # the gate over channels is a half everywhere
    half = x / 2
    places = torch.stack((half.mean(1), half.amax(1)), 1)
    agree(block(x), half * torch.sigmoid(F.conv2d(places, block.spatial.weight, padding=3)))


@pytest.mark.parametrize("kind", [cb.CondConv, cb.DynamicConv, cb.ODConv])
@pytest.mark.parametrize("stride", [1, 2])
def test_dynamic_kernels_sample_by_sample(kind: type[nn.Module], stride: int) -> None:
    block, x = filled(kind(4, 6, stride=stride)), features(4)
    experts, outputs = block.weight.view(-1, 6, 4, 3, 3), []
    for sample in x:
        pooled = sample.mean((1, 2))
        if isinstance(block, cb.CondConv):
            kernel = torch.einsum("e,eoikl->oikl", block.routing(pooled).sigmoid(), experts)
        elif isinstance(block, cb.DynamicConv):
            share = block.fc2(F.relu(block.fc1(pooled))).softmax(0)
            kernel = torch.einsum("e,eoikl->oikl", share, experts)
        else:
            assert isinstance(block, cb.ODConv)
            h = F.relu(block.bn(block.fc(pooled[None, :, None, None]))).flatten()
            kernel = torch.einsum(
                "e,o,i,kl,eoikl->oikl",
                block.kernel(h).softmax(0),
                block.filter(h).sigmoid(),
                block.channel(h).sigmoid(),
                block.spatial(h).sigmoid().view(3, 3),
                experts,
            )
        outputs.append(F.conv2d(sample[None], kernel, stride=stride, padding=1))
    agree(block(x), torch.cat(outputs))


def test_involution_sums_neighbours_by_the_kernel_of_their_pixel() -> None:
    block, x = filled(cb.Involution(8, 3, group_channels=4)), features(8, 5, 4)
    kernels = block.span(block.reduce(x)).view(2, 2, 3, 3, 5, 4)
    padded, expected = F.pad(x, (1, 1, 1, 1)), torch.zeros_like(x)
    for channel in range(8):
        for row in range(3):
            for column in range(3):
                shifted = padded[:, channel, row : row + 5, column : column + 4]
                expected[:, channel] += kernels[:, channel // 4, row, column] * shifted
    agree(block(x), expected)


def test_gnconv_of_order_two_is_gated_twice() -> None:
    block, x = filled(cb.GnConv(8, order=2, scale=0.5)), features(8)
    projected = block.proj_in(x)
    gates = block.dwconv(projected[:, 4:]) / 2
    y = block.pws[0](projected[:, :4] * gates[:, :4]) * gates[:, 4:]
    agree(block(x), block.proj_out(y))


def test_simam_is_its_inverse_energy() -> None:
    x, strength = features(3), 1e-4
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True)
    inverse = ((x - mean) ** 2 + 2 * variance + 2 * strength) / (4 * (variance + strength))
    agree(cb.SimAM(3)(x), x * torch.sigmoid(inverse))


def test_simam_of_one_pixel_is_finite() -> None:
    x = features(3, 1, 1)
    agree(cb.SimAM(3)(x), x * torch.sigmoid(torch.tensor(0.5, dtype=torch.float64)))


def test_ema_weighs_each_branch_by_the_other() -> None:
    block, x = filled(cb.EMA(8, 2)), features(8)
    outputs = []
    for part in x.chunk(2, 1):
        strips = torch.cat((part.mean(3), part.mean(2)), 2)
        gates = block.conv1x1(strips[..., None]).sigmoid()[..., 0]
        one = block.norm(part * gates[:, :, :9, None] * gates[:, :, None, 9:])
        two = block.conv3x3(part)
        weights = sum(
            (a.mean((2, 3)).softmax(1)[:, :, None, None] * b).sum(1, keepdim=True) for a, b in ((one, two), (two, one))
        )
        outputs.append(part * torch.sigmoid(weights))
    agree(block(x), torch.cat(outputs, 1))


def test_lka_and_lska_are_attention_by_dense_kernels() -> None:
    for block, names in (
        (filled(cb.LKA(3)), ("conv0", "conv_spatial")),
        (filled(cb.LSKA(3, 23)), ("conv0h", "conv0v", "conv_spatial_h", "conv_spatial_v")),
    ):
        x = features(3)
        y = x
        for name in names:
            conv = getattr(block, name)
            rows, columns = conv.kernel_size
            dense = torch.zeros(3, 1, *(conv.dilation[0] * (k - 1) + 1 for k in (rows, columns)), dtype=x.dtype)
            dense[:, :, :: conv.dilation[0], :: conv.dilation[1]] = conv.weight
            padding = (dense.shape[2] // 2, dense.shape[3] // 2)
            y = F.conv2d(y, dense, conv.bias, padding=padding, groups=3)
        agree(block(x), block.conv1(y) * x)


def test_lsk_selects_at_each_pixel() -> None:
    block, x = filled(cb.LSK(4)), features(4)
    near = block.conv0(x)
    maps = [block.conv1(near), block.conv2(block.conv_spatial(near))]
    both = torch.cat(maps, 1)
    choice = torch.sigmoid(block.conv_squeeze(torch.stack((both.mean(1), both.amax(1)), 1)))
    agree(block(x), x * block.conv(maps[0] * choice[:, :1] + maps[1] * choice[:, 1:]))


def test_pki_adds_what_it_scales() -> None:
    block, x = filled(cb.PKI(4)), features(4)
    local = block.dw_conv(x)
    gathered = block.pw_conv(local + sum(conv(local) for conv in block.dw_convs))
    agree(block(x), gathered + gathered * block.caa(x))


def test_fasternet_block_mixes_a_quarter_and_adds() -> None:
    block, x = filled(cb.FasterNetBlock(8)), features(8)
    mixed = torch.cat((F.conv2d(x[:, :2], block.spatial_mixing.partial_conv3.weight, padding=1), x[:, 2:]), 1)
    agree(block(x), x + block.mlp(mixed))


def test_coordconv_sees_rows_columns_and_radius() -> None:
    block, x = filled(cb.CoordConv(3, 4, radius=True)), features(3, 5, 3)
    row = torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=x.dtype)[:, None].expand(5, 3)
    column = torch.tensor([-1.0, 0, 1], dtype=x.dtype).expand(5, 3)
    places = torch.stack((row, column, (row**2 + column**2).sqrt())).expand(2, -1, -1, -1)
    agree(block(x), block.conv(torch.cat((x, places), 1)))


def test_scconv_crosses_what_it_separates() -> None:
    block, x = filled(cb.SCConv(8)), features(8)
    gamma = block.norm.weight
    weight = torch.sigmoid(block.norm(x) * (gamma / gamma.sum())[:, None, None])
    rich = x * torch.where(weight > 0.5, torch.ones_like(weight), weight)
    poor = x * torch.where(weight > 0.5, torch.zeros_like(weight), weight)
    y = torch.cat((rich[:, :4] + poor[:, 4:], rich[:, 4:] + poor[:, :4]), 1)
    up, low = block.squeeze_up(y[:, :4]), block.squeeze_low(y[:, 4:])
    one, two = block.group_conv(up) + block.point_conv_up(up), torch.cat((block.point_conv_low(low), low), 1)
    beta = torch.sigmoid(one.mean((2, 3), keepdim=True) - two.mean((2, 3), keepdim=True))
    agree(block(x), beta * one + (1 - beta) * two)


def test_haar_bands_are_sums_and_differences() -> None:
    block, x = filled(cb.HaarDownsampling(2, 3)), features(2, 6, 4)
    a, b, c, d = (x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    bands = torch.cat((a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d), 1) / 2
    agree(block(x), F.relu(block.bn(block.conv(bands))))


def test_spdconv_takes_the_quarters_in_the_papers_order() -> None:
    block, x = filled(cb.SPDConv(2, 3)), features(2, 6, 4)
    quarters = torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1)
    agree(block(x), F.silu(block.bn(block.conv(quarters))))


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_wtconv_with_identity_kernels_restores_its_input(size: tuple[int, int]) -> None:
    block, x = cb.WTConv(3, 3, levels=2).double(), features(3, *size)
    for conv in (block.base_conv, *block.wavelet_convs):
        nn.init.zeros_(conv.weight)
        conv.weight.data[:, :, 1, 1] = 1
    nn.init.zeros_(block.base_conv.bias)
    for scale in block.wavelet_scales:
        nn.init.ones_(scale)
    # The base, the first level's bands, and the low band once more from the second level.
    padded = F.pad(x, (0, size[1] % 2, 0, size[0] % 2))
    low = F.interpolate(F.avg_pool2d(padded, 2), scale_factor=2)[..., : size[0], : size[1]]
    agree(block(x), 2 * x + low)


@pytest.mark.parametrize(
    "build",
    [
        lambda: cb.RepVGG(8),
        lambda: cb.RepVGG(8, groups=4),
        lambda: cb.RepVGG(8, 12, stride=2, groups=2),
        lambda: cb.RepLargeKernel(4, 13, 5),
        lambda: cb.RepLargeKernel(4, 9, 3, stride=2),
        *(lambda k=k: cb.DilatedReparam(4, k) for k in (5, 7, 9, 11, 13, 15, 17)),
    ],
)
def test_fused_form_is_the_trained_one(build: Callable[[], nn.Module]) -> None:
    block = filled(build())
    fused, x = fuse(block), features(block.dim, 17, 14)
    agree(fused(x), block(x))
    assert sum(isinstance(module, nn.Conv2d) for module in fused.modules()) == 1
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_repvgg_sums_its_branches_before_the_relu() -> None:
    block, x = filled(cb.RepVGG(4)), features(4)
    agree(block(x), F.relu(block.rbr_dense(x) + block.rbr_1x1(x) + block.rbr_identity(x)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cb.EMA(30), "dim must be a multiple of 8, got 30"),
        (lambda: cb.LSKA(8, 21), "kernel_size must be 7, 11, 23, 35, 41 or 53"),
        (lambda: cb.LSK(7), "multiple of 2, got 7"),
        (lambda: cb.InceptionDWConv(4), "gives 0 of 4 channels"),
        (lambda: cb.GnConv(24), "multiple of 16, got 24"),
        (lambda: cb.Involution(24), "multiple of 16, got 24"),
        (lambda: cb.CondConv(8, experts=0), "experts must be a whole number"),
        (lambda: cb.DynamicConv(8, kernel_size=4), "must be odd"),
        (lambda: cb.PConv(6), "multiple of 4, got 6"),
        (lambda: cb.SCConv(12), "multiple of 8, got 12"),
        (lambda: cb.SCConv(8, norm_groups=3), "groups must divide"),
        (lambda: cb.MixConv(3), "at least the number of kernels, 4, got 3"),
        (lambda: cb.RepLargeKernel(8, 5, 7), "small_kernel 7 is larger than kernel_size 5"),
        (lambda: cb.DilatedReparam(8, 3), "kernel_size must be 5, 7"),
        (lambda: cb.RepVGG(8, groups=3), "groups must divide"),
        (lambda: cb.SE(0), "dim must be a whole number of at least 1, got 0"),
        (lambda: cb.StarBlock(8, mlp_ratio=0), "mlp_ratio must be a positive number"),
    ],
)
def test_bad_argument_of_a_field_block_is_a_clear_error(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
