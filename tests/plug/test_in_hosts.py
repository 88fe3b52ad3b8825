"""Blocks in hosts of every make: what a host reads of its layers, its statistics and modes, training afterwards."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convbench
from convbench.errors import TargetError, UsageError
from convbench.execution.tensors import tensors_in
from convbench.plugging import insert_after, load_block, replace_convs
from tests.plug.like_yolo import Detector, Flat, Head

SMALL = (1, 3, 32, 32)
CALL = ((torch.zeros(SMALL),), {})


def state(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


class TestWhatTheHostReads:
    def test_the_wiring_of_a_replaced_layer(self) -> None:
        plugged = convbench.plug("PyConv", into=Flat(), shape=SMALL)
        assert [type(layer).__name__ for layer in plugged.model] == ["PyConv4"] * 4
        assert [(layer.i, layer.f, layer.type) for layer in plugged.model][3] == (3, 0, "conv")
        assert plugged(torch.randn(SMALL)).shape == (1, 2)

    @pytest.mark.parametrize("stage", ["model.2", "model.6", "model.0"])
    def test_the_wiring_of_a_layer_that_a_block_follows(self, stage: str) -> None:
        host = Detector()
        plugged = convbench.plug("MRFA", into=host, after=[stage], shape=SMALL)
        layer = plugged.get_submodule(stage)
        assert (layer.f, layer.type) == (-1, type(layer).__name__)
        assert type(layer) is type(host.get_submodule(stage))
        assert set(host.state_dict()) < set(plugged.state_dict())

    def test_the_blocks_own_attributes_win(self) -> None:
        class Typed(nn.Conv2d):
            def __init__(self, in_channels: int, out_channels: int) -> None:
                super().__init__(in_channels, out_channels, 3, padding=1)
                self.f, self.kernel = -1, 3

        host = Flat()
        host.model[1].kernel, host.model[1].tag = 7, "tagged"
        layer = replace_convs(host, CALL, load_block(Typed, {}), "1$").module.model[1]
        assert (layer.kernel, layer.tag, layer.kernel_size) == (3, "tagged", (3, 3))

    def test_hooks_on_a_replaced_layers_output_stay(self) -> None:
        host, seen = Flat(), []
        host.model[1].register_forward_hook(lambda layer, args, output: seen.append(output.shape))
        plugged = replace_convs(host, CALL, load_block("PyConv", {})).module
        seen.clear()
        plugged(torch.zeros(SMALL))
        assert seen == [(1, 8, 32, 32)]

    def test_a_fixed_conv_of_a_trained_host_stays_unless_named(self) -> None:
        changes = replace_convs(Detector(), CALL, load_block("DRConv", {}), "all").changes
        (fixed,) = (change for change in changes if change.layer == "model.7.mean")
        assert "its weights are fixed" in fixed.reason


class TestTheHostsOwnFuse:
    @pytest.mark.parametrize("block", ["PyConv", "MRFA", "RefConv", "DRConv"])
    def test_it_folds_what_is_left_and_gives_the_same(self, block: str) -> None:
        torch.manual_seed(0)
        host = Detector()
        for norm in (module for module in host.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
        plugged = convbench.plug(block, into=host, where=r"model\.[26]|model.7.boxes", shape=SMALL).double().eval()
        for parameter in (p for name, p in plugged.named_parameters() if "convmap" in name):
            nn.init.normal_(parameter, std=0.2)
        x = torch.randn(SMALL, dtype=torch.float64)
        expected = plugged(x)
        for other in (copy.deepcopy(plugged), pickle.loads(pickle.dumps(plugged)), plugged):
            assert other.fuse() is other
            assert torch.allclose(other(x), expected, atol=1e-9)
            assert not hasattr(other.model[0], "bn")

    def test_a_host_that_has_none_gets_none(self) -> None:
        assert not hasattr(convbench.plug("PyConv", into=Flat(), shape=SMALL), "fuse")


class TestWhatStays:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("where", [{"where": "3x3"}, {"after": ["model.2"]}])
    def test_the_given_module_is_left_alone(self, training: bool, where: dict[str, object]) -> None:
        host = Detector().train(training)
        host.model[1].bn.eval()
        before, modes = state(host), [module.training for module in host.modules()]
        anchors = host.model[7].shape
        plugged = convbench.plug("PyConv", into=host, shape=SMALL, **where)
        assert same(before, state(host))
        assert [module.training for module in host.modules()] == modes
        assert host.model[7].shape is anchors is None
        assert plugged.model[7].shape is None

    @pytest.mark.parametrize("training", [True, False])
    def test_every_other_weight_is_the_hosts_bit_for_bit(self, training: bool) -> None:
        host = Detector().train(training)
        host.model[1].bn.eval()
        with torch.no_grad():
            host(torch.randn(2, 3, 32, 32))
        before = state(host)
        plugged = convbench.plug("PyConv", into=host, where=r"model\.3", shape=SMALL)
        after = state(plugged)
        kept = {key: tensor for key, tensor in before.items() if key != "model.3.conv.weight"}
        assert same(kept, after)
        assert {key for key in after if key not in kept} == {f"model.3.conv.conv2_{n}.weight" for n in (1, 2, 3, 4)}
        assert plugged.model[1].bn.training is False
        assert plugged.model[3].conv.training is plugged.training is training

    def test_one_image_of_one_pixel_in_training_mode(self) -> None:
        """A batch norm refuses the statistics of one value; finding shapes asks for none."""
        host = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)).train()
        plugged = convbench.plug("DRConv", into=host, where="2", shape=(1, 3, 2, 2))
        assert plugged.training
        assert int(plugged[1].num_batches_tracked) == 0

    def test_a_layer_that_training_alone_calls(self) -> None:
        class WithAuxiliary(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.auxiliary = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

            def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
                x = self.body(x)
                return (x, self.auxiliary(x)) if self.training else x

        result = replace_convs(WithAuxiliary().eval(), CALL, load_block("PyConv", {}))
        assert [change.remark for change in result.changed] == ["", "called in training alone"]
        assert not result.module.training


class TestHostsThatDoMore:
    def test_a_conv_that_is_called_from_elsewhere_too(self) -> None:
        """The host keeps it in a list of its own, where no block can be put."""

        class Listed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
                self.order = [self.first, self.second]

            def forward(self, x: Tensor) -> Tensor:
                return self.second(self.order[0](x))

        result = replace_convs(Listed(), CALL, load_block("PyConv", {}))
        assert [change.layer for change in result.changed] == ["second"]
        assert "is called 0 times instead of 1" in result.skipped[0].reason

    def test_a_stage_whose_children_the_host_runs_one_by_one(self) -> None:
        class Stage(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3, padding=1)

            def forward(self, x: Tensor) -> Tensor:
                for child in self.children():
                    x = child(x)
                return x

        host = nn.Sequential()
        host.add_module("stage", Stage())
        with pytest.raises(TargetError, match="is called 2 times instead of 1"):
            insert_after(host, CALL, load_block("MRFA", {}), ["stage"])

    def test_two_blocks_after_one_stage(self) -> None:
        once = convbench.plug("MRFA", into=Detector(), after=["model.2"], shape=SMALL)
        twice = convbench.plug("PyConv", into=once, after=["model.2"], shape=SMALL)
        assert {"plugged", "plugged_2"} < set(dict(twice.model[2].named_children()))

    def test_a_plugged_host_is_copied_and_pickled(self) -> None:
        plugged = convbench.plug("MRFA", into=Detector(), after=["model.2"], shape=SMALL).eval()
        x = torch.randn(SMALL)
        expected = plugged(x)
        for other in (copy.deepcopy(plugged), pickle.loads(pickle.dumps(plugged))):
            assert torch.equal(other(x), expected)

    def test_hosts_without_a_conv_and_blocks_that_fit_nowhere(self) -> None:
        with pytest.raises(UsageError, match="give shape="):
            convbench.plug("PyConv", into=nn.Linear(2, 2))
        with pytest.raises(UsageError, match="replaces none of the 1 convs"):
            convbench.plug("MRFA", into=nn.Conv2d(3, 8, 3, padding=1))


def falls(model: nn.Module, loss: Callable[[nn.Module], Tensor], steps: int = 10, rate: float = 0.02) -> bool:
    """Whether some steps on one small batch lower its loss by a fifth."""
    model.train()
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), rate)
    first = last = 0.0
    for step in range(steps):
        value = loss(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        last = float(value.detach())
        first = first if step else last
    return last < 0.8 * first


def towards_noise(shape: Sequence[int]) -> Callable[[nn.Module], Tensor]:
    """Tell the images of a fixed batch apart: every output is to be what was drawn for it."""
    x = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0))
    wanted: list[Tensor] = []

    def loss(model: nn.Module) -> Tensor:
        outputs = tensors_in(model(x))
        if not wanted:
            generator = torch.Generator().manual_seed(1)
            wanted.extend(torch.randn(o.shape, generator=generator) for o in outputs)
        return sum(F.mse_loss(o, w) for o, w in zip(outputs, wanted, strict=True))

    return loss


@pytest.mark.parametrize("block", ["PyConv", "RefConv", "MRFA"])
def test_a_plugged_detector_trains(block: str) -> None:
    torch.manual_seed(0)
    plugged = convbench.plug(block, into=Detector(width=8), shape=(2, 3, 32, 32))
    head = plugged.model[7]
    assert isinstance(head, Head)
    assert falls(plugged, towards_noise((2, 3, 16, 16)))
    assert [name for name, parameter in plugged.named_parameters() if parameter.grad is None] == ["model.7.mean.weight"]


def test_a_plugged_resnet18_trains() -> None:
    torch.manual_seed(0)
    plugged = convbench.plug("PyConv", into="torchvision:resnet18", where="layer[12].*conv2", shape=(1, 3, 32, 32))
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    y = torch.arange(8) % 2
    assert falls(plugged, lambda model: F.cross_entropy(model(x), y), steps=5, rate=1e-3)


def test_refocused_trained_and_fused_is_the_same_network() -> None:
    torch.manual_seed(0)
    host = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, bias=False)
    )
    refocused = convbench.refocus(host.double())
    assert falls(
        refocused, lambda model: F.mse_loss(model(torch.ones(1, 3, 6, 6).double()), torch.ones(1, 8, 6, 6).double())
    )
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    fused = convbench.fuse(refocused)
    assert torch.allclose(fused(x), refocused(x), atol=1e-12)
    assert [type(layer) for layer in fused] == [nn.Conv2d, nn.ReLU, nn.Conv2d]
