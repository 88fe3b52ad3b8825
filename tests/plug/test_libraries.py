"""Hosts of other libraries, where they are installed: from Python and as saved code, trained and exported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convbench
from tests.plug.test_in_hosts import falls, same, state, towards_noise

SHAPE = (1, 3, 64, 64)


def yolo(name: str) -> nn.Module:
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    torch.manual_seed(0)
    network: nn.Module = tasks.DetectionModel(f"{name}.yaml", nc=4, verbose=False)
    return network


def unet(encoder: str) -> nn.Module:
    library = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    network: nn.Module = library.Unet(
        encoder, encoder_weights=None, classes=2, encoder_depth=3, decoder_channels=(32, 16, 8)
    )
    return network


@pytest.mark.parametrize(
    ("name", "block", "options"),
    [
        ("yolov8n", "PyConv", {}),
        ("yolov8n", "MRFA", {"after": ["model.4"]}),
        ("yolo11n", "RefConv", {}),
        ("yolo12n", "MRFA", {}),
    ],
)
def test_a_yolo_keeps_its_wiring_its_weights_and_its_statistics(name: str, block: str, options: dict[str, Any]) -> None:
    host = yolo(name)
    before = state(host)
    plugged = convbench.plug(block, into=host, shape=SHAPE, **options)
    assert same(before, state(host))
    after = state(plugged)
    assert same({key: tensor for key, tensor in before.items() if key in after and "conv.weight" not in key}, after)
    wiring = [(layer.i, layer.f, layer.type) for layer in host.model]
    assert [(layer.i, layer.f, layer.type) for layer in plugged.model] == wiring
    assert plugged.training
    assert plugged.eval()(torch.zeros(SHAPE))[0].shape == host.eval()(torch.zeros(SHAPE))[0].shape


def detects(x: Tensor) -> Any:
    """The network's own loss of a batch with one box an image."""
    batch = {
        "img": x,
        "batch_idx": torch.arange(len(x)).float(),
        "cls": torch.arange(len(x)).float().view(-1, 1) % 4,
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).expand(len(x), 4),
    }

    def loss(model: nn.Module) -> Tensor:
        if not hasattr(model, "args"):
            from ultralytics.utils import DEFAULT_CFG

            model.args = DEFAULT_CFG
        total, _ = model.loss(batch)
        return total.sum()

    return loss


@pytest.mark.parametrize("block", ["PyConv", "MRFA"])
def test_a_yolo_trains_and_is_exported(block: str) -> None:
    torch.manual_seed(0)
    plugged = convbench.plug(block, into=yolo("yolov8n"), shape=SHAPE)
    assert falls(plugged, towards_noise((2, 3, 64, 64)), steps=6)
    loss = detects(torch.randn(2, 3, 64, 64))(plugged)
    plugged.zero_grad()
    loss.backward()
    assert torch.isfinite(loss)
    fresh = [parameter for name, parameter in plugged.named_parameters() if ".conv." in name and ".weight" in name]
    assert all(parameter.grad is not None for parameter in fresh if parameter.requires_grad)
    plugged.eval()
    x = torch.randn(SHAPE)
    with torch.no_grad():
        expected = plugged(x)[0]
        exported = torch.export.export(plugged, (x,)).module()
        assert torch.allclose(exported(x)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("encoder", "where"), [("resnet18", "3x3"), ("mobilenet_v2", "depthwise")])
def test_a_unet_trains(encoder: str, where: str) -> None:
    plugged = convbench.plug("MRFA", into=unet(encoder), where=where, shape=SHAPE)
    assert falls(plugged, towards_noise((2, 3, 32, 32)), steps=8, rate=5e-3)
