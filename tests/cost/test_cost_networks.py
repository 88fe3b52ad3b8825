"""Networks of torchvision and timm: the known figure, FlopCounterMode's figure, and no operator left out."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from convbench.measures.cost import measure_cost
from convbench.measures.cost.other_counters import torch_counts
from tests.cost.costing import assert_adds_up, meta

models = pytest.importorskip("torchvision.models")
timm = pytest.importorskip("timm")

TORCHVISION = ["resnet50", "convnext_tiny", "swin_t", "efficientnet_b0", "vit_b_16", "mobilenet_v3_small"]
OTHERS = ["densenet121", "swin_v2_t", "shufflenet_v2_x1_0", "maxvit_t", "squeezenet1_0"]
TIMM = [
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_100",
]
TIMM_OTHERS = ["swinv2_tiny_window8_256", "coatnet_0_rw_224", "mobilevit_s", "lambda_resnet26t", "xcit_tiny_12_p16_224"]


def build(library: str, name: str) -> tuple[nn.Module, tuple[int, ...]]:
    with torch.device("meta"):
        if library == "timm":
            network = timm.create_model(name)
            return network, network.default_cfg["input_size"]
        return getattr(models, name)(weights=None), (3, 224, 224)


def assert_agrees_with_flop_counter_mode(library: str, name: str) -> None:
    network, size = build(library, name)
    for training in (False, True):
        network.train(training)
        cost = measure_cost(network, (meta(2, *size),), training=training, input_grad=False)
        counts = torch_counts(network, (meta(2, *size),), {}, training=training, input_grad=False, method="meta")
        known_errors = sum(error for error, _ in counts.errors.values())
        without_formula = sum(
            row.macs for row in cost.operators if "attention" in row.name and row.name not in counts.macs
        )
        assert cost.macs - without_formula == sum(counts.macs.values()) - known_errors
        assert (cost.uncounted, cost.method) == ((), "meta")
        assert_adds_up(cost)


def test_resnet50_has_its_published_cost() -> None:
    network, _ = build("torchvision", "resnet50")
    cost = measure_cost(network.eval(), (meta(1, 3, 224, 224),))
    assert cost.macs == 4_089_184_256
    sizes = [module.output_shapes[0] for module in cost.modules if module.type in ("Conv2d", "Linear")]
    assert cost.activations == sum(prod(size) for size in sizes) == 11_114_984
    at = {module.path: module for module in cost.modules}
    assert at["conv1"].own.macs == 147 * 64 * 112 * 112
    assert at["layer1.0.conv2"].output_shapes == ((1, 64, 56, 56),)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_small_torchvision_networks(name: str) -> None:
    assert_agrees_with_flop_counter_mode("torchvision", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TORCHVISION, *OTHERS])
def test_torchvision_networks(name: str) -> None:
    assert_agrees_with_flop_counter_mode("torchvision", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TIMM, *TIMM_OTHERS])
def test_timm_networks(name: str) -> None:
    assert_agrees_with_flop_counter_mode("timm", name)
