"""RefConv's kernel, its initialisations, and the way to and from a plain conv."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convblocks import RefConv, RefConvBlock


@pytest.mark.parametrize(("channels_in", "channels_out", "groups"), [(6, 8, 1), (6, 6, 6), (8, 12, 4), (4, 8, 4)])
def test_kernel_is_basis_plus_its_map_as_one_image(channels_in: int, channels_out: int, groups: int) -> None:
    conv = RefConv(channels_in, channels_out, 5, groups=groups).double()
    per_group, maps = channels_in // groups, channels_in * channels_out // groups**2
    image = conv.weight.view(channels_out * per_group, 5, 5)
    width = image.shape[0] // maps
    mapped = torch.zeros_like(image)
    for channel in range(image.shape[0]):
        for source in range(width):
            plane = image[channel // width * width + source]
            taps = conv.convmap.weight[channel, source]
            mapped[channel] += F.conv2d(plane[None, None], taps[None, None], padding=1)[0, 0]
    torch.testing.assert_close(conv.kernel(), conv.weight + mapped.view_as(conv.weight))


def test_basis_is_a_buffer_and_the_map_is_all_that_trains() -> None:
    conv = RefConv(4, 6, 3)
    assert dict(conv.named_buffers()).keys() == {"weight"}
    assert dict(conv.named_parameters()).keys() == {"convmap.weight"}
    basis = conv.weight.clone()
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.1)
    conv(torch.randn(2, 4, 6, 6)).square().sum().backward()
    optimizer.step()
    assert torch.equal(conv.weight, basis)


def test_fresh_module_neither_gives_zero_nor_is_stuck() -> None:
    conv = RefConv(4, 6, 3, zero_init=True)
    y = conv(torch.randn(1, 4, 6, 6))
    y.square().sum().backward()
    assert y.abs().sum() > 0
    assert conv.convmap.weight.grad is not None
    assert conv.convmap.weight.grad.abs().sum() > 0


def test_zero_init_leaves_the_kernel_at_its_basis_and_the_default_does_not() -> None:
    zero, default = RefConv(4, 6, 3, zero_init=True), RefConv(4, 6, 3)
    assert torch.equal(zero.kernel(), zero.weight)
    assert not torch.allclose(default.kernel(), default.weight)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 5, "stride": 2, "padding": (2, 1), "groups": 2},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "stride": (1, 2), "bias": True, "dtype": torch.float64},
        {"kernel_size": 7, "padding": 3, "groups": 4},
    ],
    ids=str,
)
def test_from_conv_and_back_keep_the_outputs(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, **options).eval()
    x = torch.randn(2, 4, 12, 11, dtype=conv.weight.dtype)
    refconv = RefConv.from_conv(conv)
    assert torch.equal(refconv(x), conv(x))
    assert not refconv.training
    nn.init.normal_(refconv.convmap.weight)
    fused = refconv.to_conv()
    torch.testing.assert_close(fused(x), refconv(x))
    assert repr(fused) == repr(conv)
    assert fused.state_dict().keys() == conv.state_dict().keys()
    assert fused.weight.dtype == conv.weight.dtype


def test_from_conv_copies_the_weight() -> None:
    conv = nn.Conv2d(3, 4, 3, bias=False)
    refconv = RefConv.from_conv(conv)
    with torch.no_grad():
        conv.weight.zero_()
    assert refconv.weight.abs().sum() > 0


@pytest.mark.parametrize("options", [{"kernel_size": (3, 5)}, {"kernel_size": 3, "padding_mode": "reflect"}], ids=str)
def test_from_conv_refuses_what_it_cannot_represent(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="square kernel and zero padding"):
        RefConv.from_conv(nn.Conv2d(3, 4, **options))


def test_baseline_checkpoint_loads_with_only_the_map_missing() -> None:
    baseline = nn.Conv2d(3, 4, 3, bias=False)
    conv = RefConv(3, 4, 3)
    result = conv.load_state_dict(baseline.state_dict(), strict=False)
    assert result.missing_keys == ["convmap.weight"]
    assert result.unexpected_keys == []
    assert torch.equal(conv.weight, baseline.weight)


def test_block_is_refconv_batch_norm_and_hardswish() -> None:
    block, x = RefConvBlock(4, 6, stride=2), torch.randn(3, 4, 9, 9)
    z = F.batch_norm(block.conv(x), None, None, block.bn.weight, block.bn.bias, training=True)
    torch.testing.assert_close(block(x), z * F.relu6(z + 3) / 6)
