"""Blocks in the place of convs: what is replaced, what is not and why, and that the sums are exact."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convbench.case import Case
from convbench.errors import OptionError, TargetError, UsageError
from convbench.measures.cost import measure_cost
from convbench.plugging import Plugged, load_block, replace_convs
from convbench.plugging.block import Conv, Unfit
from convbench.plugging.job import plug_into

HOSTS = Path(__file__).parent / "hosts.py"
IMAGE = (torch.zeros(1, 3, 64, 64, device="meta"),)


def mixed() -> nn.Module:
    from convbench.target.blueprint import blueprint

    return blueprint(Case(f"{HOSTS}:Mixed", device="meta")).module()


def plugged(block: str, where: str, options: dict[str, object] | None = None) -> Plugged:
    return replace_convs(mixed(), (IMAGE, {}), load_block(block, options or {}), where)


def reasons(result: Plugged) -> dict[str, str]:
    return {change.layer: change.reason for change in result.skipped}


class TestWhere:
    @pytest.mark.parametrize(
        ("where", "layers"),
        [
            ("depthwise", ["depthwise"]),
            ("^(stem|down)$", ["stem", "down"]),
            (r"stage\.0", ["stage.0"]),
            ("3x3", None),
            ("all", None),
        ],
    )
    def test_chooses_layers(self, where: str, layers: list[str] | None) -> None:
        found = [change.layer for change in plugged("DRConv", where).changes]
        every = [name for name, module in mixed().named_modules() if isinstance(module, nn.Conv2d)]
        if where == "3x3":
            layers = [name for name in every if name not in ("depthwise", "pointwise", "wide")]
        assert found == (every if where == "all" else layers)

    def test_no_match_names_the_words_and_some_layers(self) -> None:
        with pytest.raises(UsageError) as caught:
            plugged("DRConv", "7x7")
        assert str(caught.value) == (
            "none of the host's 13 convs matches --where '7x7': write 3x3, depthwise, all, or a regular expression for "
            "names such as stem, stage.0, down, depthwise, pointwise, …"
        )

    def test_what_is_no_regular_expression(self) -> None:
        with pytest.raises(UsageError, match=r"'\(' is neither 3x3, depthwise, all nor a regular expression"):
            plugged("DRConv", "(")

    def test_a_host_without_convs(self) -> None:
        with pytest.raises(UsageError, match="Linear has no Conv2d"):
            replace_convs(nn.Linear(3, 3), ((torch.zeros(1, 3),), {}), load_block("DRConv", {}))


class TestReasons:
    def test_every_layer_that_stays_says_why(self) -> None:
        found = reasons(plugged("DRConv", "all"))
        assert set(found) == {"wide", "shrinking", "reflecting", "special", "functional", "unused"}
        assert found["wide"] == "its kernel 1×3 is not square"
        assert found["shrinking"] == "DRConv gives 1×32×16×16 where the host has 1×32×14×14"
        assert found["reflecting"] == "it pads with 'reflect', and blocks pad with zeros"
        assert found["special"] == "it is a ReflectingHost, which does more than convolve"
        assert found["functional"] == found["unused"] == "the host's forward pass does not call it"

    def test_a_block_that_keeps_its_shape_says_what_it_cannot_do(self) -> None:
        found = reasons(plugged("MRFA", "all"))
        assert found["stem"] == "MRFA keeps its width, and this goes from 3 to 16"
        assert {"stage.0", "depthwise", "pointwise", "dilated", "twice"}.isdisjoint(found)
        host = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        result = replace_convs(host, ((torch.zeros(1, 8, 8, 8),), {}), load_block("MRFA", {}))
        assert reasons(result) == {"0": "MRFA keeps the size, and this has stride 2"}

    def test_a_blocks_own_refusal_is_the_reason(self) -> None:
        host = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        )
        result = replace_convs(host, ((torch.zeros(1, 6, 8, 8),), {}), load_block("MRFA", {}))
        assert "multiple of 4, got 6" in reasons(result)["0"]

    def test_a_block_that_changes_the_size_in_secret_is_found_out(self) -> None:
        host = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
        with pytest.raises(UsageError, match="Halving gives 1×8×4×4 where the host has 1×8×8×8"):
            replace_convs(host, ((torch.zeros(1, 8, 8, 8),), {}), load_block(f"{HOSTS}:Halving", {}))

    def test_nothing_replaced_is_an_error_with_the_reasons(self) -> None:
        expected = r"MRFA replaces none of the 1 convs that match '\^stem'\. stem: MRFA keeps"
        with pytest.raises(UsageError, match=expected):
            plugged("MRFA", "^stem")

    def test_a_host_that_reaches_into_a_conv_keeps_that_conv_alone(self) -> None:
        case = Case(f"{HOSTS}:ReadsWeights", device="meta", size=16)
        result = plug_into(case, load_block("DRConv", {}), "3x3", ())
        assert [change.layer for change in result.changed] == ["conv", "last"]
        assert "uses more of it than its output" in reasons(result)["body"]
        assert type(result.module.body) is nn.Conv2d

    def test_a_host_that_does_not_take_its_input(self) -> None:
        with pytest.raises(TargetError, match="does not take its input"):
            replace_convs(mixed(), ((torch.zeros(1, 4, 64, 64, device="meta"),), {}), load_block("DRConv", {}))

    def test_remarks_on_what_a_block_does_not_take_over(self) -> None:
        remarks = {change.layer: change.remark for change in plugged("PyConv", "all").changed}
        assert remarks["stem"] == ""
        assert remarks["depthwise"] == "32 groups up to the block"
        assert remarks["twice"] == ""
        kept = {change.layer: change.remark for change in plugged(f"{HOSTS}:AnyConv", "all").changed}
        assert set(kept.values()) == {""}


class TestSums:
    @pytest.mark.parametrize(
        ("block", "where"), [("PyConv", "all"), ("DRConv", "3x3"), ("RefConv", "3x3"), ("MRFA", "all")]
    )
    def test_the_layers_differences_add_up_to_the_hosts(self, block: str, where: str) -> None:
        host = mixed()
        result = replace_convs(copy.deepcopy(host), (IMAGE, {}), load_block(block, {}), where)
        before, after = measure_cost(host, IMAGE), measure_cost(result.module, IMAGE)
        changed = result.changed
        assert changed
        assert after.macs - before.macs == sum(c.macs_after - c.macs_before for c in changed)
        sizes = [sum(p.numel() for p in module.parameters()) for module in (host, result.module)]
        assert sizes[1] - sizes[0] == sum(c.params_after - c.params_before for c in changed)

    def test_a_layer_that_is_called_twice_is_replaced_once_and_counted_twice(self) -> None:
        result = plugged("DRConv", "twice|again")
        (change,) = result.changes
        assert change.shapes == ((1, 32, 14, 14), (1, 32, 7, 7))
        assert change.macs_before == (14 * 14 + 7 * 7) * 32 * 32 * 9
        assert result.module.twice is result.module.again
        assert type(result.module.twice).__name__ == "DRConv"

    def test_hand_counts_of_one_layer(self) -> None:
        (change,) = plugged("PyConv", "^down$").changes
        assert change.was == "conv 16→32, k3, s2, bias"
        assert (change.params_before, change.macs_before) == (16 * 32 * 9 + 32, 16 * 16 * 16 * 32 * 9)
        levels = sum(16 // groups * 8 * kernel**2 for kernel, groups in ((3, 1), (5, 4), (7, 8), (9, 8)))
        assert (change.params_after, change.macs_after) == (levels + 32, levels * 16 * 16)


class TestReplacement:
    def test_a_users_conv_gets_all_that_the_conv_has_and_the_same_weights_give_the_same_outputs(self) -> None:
        torch.manual_seed(0)
        host = nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2),
            nn.Conv2d(8, 6, 5, padding="same"),
        )
        x = torch.randn(2, 4, 12, 12)
        expected = host(x)
        result = replace_convs(copy.deepcopy(host), ((x,), {}), load_block(f"{HOSTS}:AnyConv", {"gain": 3.0}), "all")
        assert len(result.changed) == 3
        for fresh, conv in zip(result.module, host, strict=True):
            fresh.conv.load_state_dict(conv.state_dict())
        outputs = x
        for fresh in result.module:
            outputs = fresh(outputs) / 3
        assert torch.allclose(outputs, expected, atol=1e-5)

    @given(
        in_channels=st.sampled_from([8, 16, 24]),
        out_channels=st.sampled_from([8, 16, 48]),
        kernel_size=st.sampled_from([1, 3, 5, 7]),
        stride=st.integers(1, 3),
        size=st.integers(9, 20),
        block=st.sampled_from(["PyConv", "DRConv", "DRConvExperts", "RefConv"]),
    )
    @settings(max_examples=40)
    def test_convs_of_any_stride_give_their_own_shape(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, size: int, block: str
    ) -> None:
        with torch.device("meta"):
            conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        x = torch.zeros(2, in_channels, size, size, device="meta")
        host = nn.Sequential(conv)
        expected = host(x).shape
        if block == "RefConv" and kernel_size == 1:
            with pytest.raises(UsageError, match="map_k"):
                replace_convs(host, ((x,), {}), load_block(block, {}), "all")
            return
        result = replace_convs(host, ((x,), {}), load_block(block, {}), "all")
        assert len(result.changed) == 1
        assert result.module(x).shape == expected

    def test_device_dtype_and_mode_are_the_convs(self) -> None:
        host = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)).double().eval()
        result = replace_convs(host, ((torch.zeros(1, 8, 6, 6, dtype=torch.float64),), {}), load_block("PyConv", {}))
        assert {parameter.dtype for parameter in result.module.parameters()} == {torch.float64}
        assert not any(module.training for module in result.module.modules())
        assert all(parameter.device.type == "meta" for parameter in plugged("PyConv", "all").module.parameters())

    def test_a_host_that_is_a_conv_itself(self) -> None:
        result = replace_convs(
            nn.Conv2d(8, 8, 3, padding=1), ((torch.zeros(1, 8, 6, 6),), {}), load_block("PyConv", {})
        )
        assert type(result.module).__name__ == "PyConv4"
        assert result.changes[0].layer == "(the host itself)"

    def test_equal_seeds_give_equal_modules_and_leave_the_random_state(self) -> None:
        def weights(seed: int) -> Tensor:
            case = Case(f"{HOSTS}:Mixed", size=32, seed=seed)
            return plug_into(case, load_block("PyConv", {}), "3x3", ()).module.down.conv2_1.weight

        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(weights(1), weights(1))
        assert not torch.equal(weights(1), weights(2))
        assert torch.equal(torch.rand(3), expected)


class TestBlocks:
    def test_options_are_the_users_first(self) -> None:
        block = load_block("DRConv", {"regions": 2, "kernel_size": 5})
        module = block.build(block.in_place_of(Conv(8, 16, 3, 1, 1, 1, 1, False)))
        assert (module.regions, module.kernel_size, module.where.padding) == (2, 5, (2, 2))

    def test_lists_are_never_mistaken_for_a_convs_groups(self) -> None:
        block = load_block("PyConv", {"kernels": [3, 5]})
        module = block.build(block.in_place_of(Conv(8, 8, 3, 1, 1, 1, 4, False)))
        assert [level.groups for level in module.children()] == [1, 4]

    @pytest.mark.parametrize("reference", ["uniconvnet_a", "timm:resnet18", "torchvision:resnet18", f"{HOSTS}:Mixed"])
    def test_a_network_is_no_block(self, reference: str) -> None:
        with pytest.raises(UsageError, match="is a network: plug takes a block"):
            load_block(reference, {})

    def test_unknown_options_and_names(self) -> None:
        with pytest.raises(OptionError, match=r"DRConv has no option 'region'.*Did you mean 'regions'"):
            load_block("DRConv", {"region": 3})
        with pytest.raises(UsageError, match="Did you mean 'DRConv'"):
            load_block("DRCon", {})

    def test_a_block_without_a_width(self) -> None:
        block = load_block(f"{HOSTS}:NoWidth", {})
        with pytest.raises(Unfit, match="takes no width"):
            block.in_place_of(Conv(8, 8, 3, 1, 1, 1, 1, False))
        with pytest.raises(Unfit, match="takes no width"):
            block.of_width(8)


@pytest.mark.parametrize(
    ("host", "where", "changed"),
    [
        ("torchvision:resnet18", "3x3", 16),
        ("torchvision:resnet50", "3x3", 16),
        ("timm:mobilenetv3_small_100", "depthwise", 11),
        ("pyconvresnet50", "conv2$", 3),
    ],
)
def test_networks_of_hosts_and_our_own(host: str, where: str, changed: int) -> None:
    result = plug_into(Case(host, device="meta"), load_block("PyConv", {}), where, ())
    assert len(result.changed) == changed
    assert result.module(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)
    assert math.isfinite(sum(change.macs_after for change in result.changed))
