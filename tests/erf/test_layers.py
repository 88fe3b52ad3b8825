"""Theoretical fields of layers, against what kernels, strides and paddings come to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from convbench.errors import MeasurementError
from convbench.measures.erf.layers import LayerField, layer_fields
from convbench.report.tables.layers import layer_rows, layers_table
from convbench.workers.codec import encode


def by_name(found: list[LayerField]) -> dict[str, LayerField]:
    return {layer.layer: layer for layer in found}


@pytest.mark.parametrize(
    ("layer", "field", "stride"),
    [
        # l + Σ (k − 1)·strides before: the stem sees 7, its pool (3 − 1)·2 more, each 3×3 twice its stride more.
        ("conv1", 7, 2),
        ("maxpool", 11, 4),
        ("layer1", 43, 4),
        ("layer2.0.conv1", 51, 8),
        ("layer2.0.downsample.0", 43, 8),
        ("layer2", 99, 8),
        ("layer3", 211, 16),
        ("layer4", 435, 32),
    ],
)
def test_a_resnets_fields(resnet: dict[str, LayerField], layer: str, field: int, stride: int) -> None:
    found = resnet[layer]
    assert (found.field_height_px, found.field_width_px) == (field, field)
    assert (found.stride_y_px, found.stride_x_px) == (stride, stride)
    assert (found.start_y_px, found.start_x_px) == (0, 0)  # its paddings put output 0 onto input 0


@pytest.fixture(scope="module")
def resnet() -> dict[str, LayerField]:
    return by_name(layer_fields(resnet18(), (1, 3, 224, 224)))


def test_the_start_is_where_padding_and_patches_put_the_first_output() -> None:
    stack = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, (3, 5), padding=(1, 0)))
    first, second, whole = layer_fields(stack, (1, 3, 32, 40))
    assert (first.layer, first.kind, first.channels, first.height, first.width) == ("0", "Conv2d", 4, 8, 10)
    assert (first.field_height_px, first.start_y_px, first.stride_y_px) == (4, 1.5, 4)
    # Without padding the middle of five patches is patch 2, pixels 8 to 11.
    assert (second.field_height_px, second.field_width_px) == (12, 20)
    assert (second.start_y_px, second.start_x_px) == (1.5, 9.5)
    assert (whole.layer, whole.kind) == ("", "Sequential")


def test_a_layer_that_joins_all_positions_has_no_bounded_field() -> None:
    stack = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(1, 4), nn.Conv2d(4, 4, 3, padding=1))
    first, norm, last, _ = layer_fields(stack, (1, 3, 16, 16))
    assert (first.field_height_px, first.reason) == (3, None)
    for layer in (norm, last):
        assert layer.field_height_px is None
        assert layer.reason == "the whole image: group_norm joins all positions"


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()).train()
    before = module[0].weight.clone()
    layer_fields(module, (1, 3, 8, 8))
    assert module.training
    assert torch.equal(module[0].weight, before)
    assert not module[0]._forward_hooks


def test_a_pass_that_depends_on_values_is_told() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.detach().sum()) > 0 else -x

    with pytest.raises(MeasurementError, match="cannot be propagated"):
        layer_fields(Branching(), (1, 3, 8, 8))


def test_the_table_leaves_out_what_changes_nothing(resnet: dict[str, LayerField]) -> None:
    rows = layer_rows([encode(layer) for layer in resnet.values()])
    table, left_out = layers_table(rows)
    names = [str(cell) for cell in table.columns[0].cells]
    assert names[:3] == ["conv1", "maxpool", "layer1.0.conv1"]
    assert len(names) + left_out == len(rows)
    assert layers_table(rows, every=True)[1] == 0
