"""Networks against stored outputs and the key lists of published checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convblocks.catalogue import ENTRIES
from tests.blocks.golden_data import GoldenCase, cases, fill, relative_error, state_keys

CASES = {case.name: case for case in cases("network")}
# Stored outputs were computed in float32 but for UniConvNet-A's, which are float64 results rounded once: the network
# multiplies a rounding error of its input some 300 times, so that two float32 evaluations differ by 2e-4 to 4e-4.
IN_DOUBLE = {"uniconvnet_a": 6e-8}  # half a unit in the last place of float32
IN_SINGLE = {"uniconvnet_a": 5e-4}
KEY_LISTS = {
    "conv2former_n": "conv2former_n",
    "drconv_shufflenetv2_0.5x": "drconv_shufflenetv2_x0_5",
    "pyconvhgresnet50": "pyconvhgresnet50",
    "pyconvresnet18": "pyconvresnet18",
    "pyconvresnet50": "pyconvresnet50",
    "pyconvsegnet_pyconvresnet50": "pyconvsegnet_pyconvresnet50",
    "pyconvsegnet_resnet50": "pyconvsegnet_resnet50",
    "uniconvnet_A": "uniconvnet_a",
    "uniconvnet_N0": "uniconvnet_n0",
}


def factory(name: str) -> Callable[..., nn.Module]:
    module, _, attribute = next(entry["target"] for entry in ENTRIES if entry["name"] == name).partition(":")
    build: Callable[..., nn.Module] = getattr(importlib.import_module(module), attribute)
    return build


def build(case: GoldenCase) -> nn.Module:
    return fill(factory(case.target)(**case.options)).eval()


def stored_part(case: GoldenCase, output: Tensor) -> Tensor:
    return output[:, ::10, ::8, ::8] if "segnet" in case.name else output


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_network_matches_golden_output(case: GoldenCase) -> None:
    network, x = build(case), case.input()
    assert sum(parameter.numel() for parameter in network.parameters()) == case.params
    floating = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    assert sum(buffer.numel() for buffer in floating) == case.buffers
    assert len(network.state_dict()) == case.state_keys
    expected, in_single = case.array("output"), IN_SINGLE.get(case.name, 1e-5)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        with torch.inference_mode():
            output = network(x.contiguous(memory_format=memory_format))
        assert output.shape == case.output_shape
        assert relative_error(stored_part(case, output), expected) < in_single
    output = network(x).detach()
    assert relative_error(stored_part(case, output), expected) < in_single
    with torch.inference_mode():
        output = fill(network.double())(case.input(torch.float64))
    assert relative_error(stored_part(case, output), expected) < IN_DOUBLE.get(case.name, 2e-6)


@pytest.mark.parametrize(("keys", "name"), KEY_LISTS.items())
def test_network_has_exactly_the_published_keys(keys: str, name: str) -> None:
    with torch.device("meta"):
        network = factory(name)()
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == state_keys(keys)


@pytest.mark.parametrize(
    "keys", ["uniconvnet_A", "conv2former_n", "pyconvresnet50", "pyconvhgresnet50", "pyconvresnet18"]
)
def test_parameters_and_buffers_are_as_published(keys: str) -> None:
    from tests.blocks.golden_data import DATA

    with torch.device("meta"):
        network = factory(KEY_LISTS[keys])()
    kinds = dict(line.split("\t")[::2] for line in (DATA / "state_keys" / f"{keys}.txt").read_text().splitlines())
    parameters = {key for key, kind in kinds.items() if kind == "param"}
    assert {name for name, _ in network.named_parameters()} == parameters
