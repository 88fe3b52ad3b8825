"""Every registered block, and whole networks: boxes and the full map agree, and fall-backs say why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from convbench.case import Case
from convbench.errors import EmptyMapError
from convbench.measures.erf import Erf, ErfSettings, measure_erf
from convbench.registry import select
from convbench.target.blueprint import blueprint

SILENT = "DCNv4"  # its modulation is unbounded and begins at zero, and so does its output
BLOCKS = [entry.name for entry in select(kind="block") if entry.name != SILENT]
POOLED = {
    *("DRConv", "DRConvExperts", "UniConvNetBlock", "CondConv", "DynamicConv", "ODConv", "FocalModulation", "SCConv"),
    *("SE", "ECA", "CBAM", "CoordAtt", "SimAM", "EMA"),
}
DEFORMED = {"DCNv2", "DCNv3", "SnakeConv", "LDConv"}
NOT_ON_BOXES = {"Involution", "CoordConv", "SPDConv"}  # local, but written with operators that boxes do not follow
WHOLE_IMAGE = POOLED | DEFORMED | NOT_ON_BOXES


def builder(name: str) -> Callable[[int], nn.Module]:
    plan = blueprint(Case(name, dim=32))
    return lambda seed: plan.module(seed=seed)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_registered_block_is_measured_on_boxes_as_on_the_whole_map(name: str, depth: int) -> None:
    def measured(evaluation: str) -> np.ndarray:
        settings = ErfSettings(
            samples=2, seeds=2, depth=depth, dtype="float64", layer_scale=1.0, bootstrap=0, evaluation=evaluation
        )
        erf = measure_erf(builder(name), (1, 32, 24, 24), settings)
        if evaluation == "auto" and name not in WHOLE_IMAGE:
            assert (erf.method, erf.reason, erf.field_source) == ("demand", None, "propagated")
        elif evaluation == "auto":
            assert erf.method == "full"
            assert erf.reason
        return erf.map

    boxes, whole = measured("auto"), measured("full")
    assert np.abs(boxes - whole).max() <= 3e-15 * whole.max()


def test_a_block_that_begins_at_zero_is_said_to() -> None:
    with pytest.raises(EmptyMapError, match=r"all zero: offset_mask\.weight"):
        measure_erf(builder(SILENT), (1, 32, 24, 24), ErfSettings(samples=2, seeds=2, bootstrap=0))


FIELDS = {"MRFA": 25, "PyConv": 9, "RefConv": 3, "ConvNeXt": 7, "Bottleneck": 3, "Conv3x3": 3, "DepthwiseSeparable": 3}


@pytest.mark.parametrize(("name", "side"), FIELDS.items())
def test_theoretical_fields_of_blocks(name: str, side: int) -> None:
    erf = measure_erf(builder(name), (1, 32, 40, 40), ErfSettings(samples=2, seeds=2, bootstrap=0))
    assert (erf.receptive_field.height, erf.receptive_field.width) == (side, side)
    assert erf.support == erf.receptive_field
    assert erf.centre == (20.0, 20.0)


def test_a_field_larger_than_the_image_is_still_known() -> None:
    erf = measure_erf(builder("MRFA"), (1, 32, 40, 40), ErfSettings(samples=2, seeds=1, depth=4, bootstrap=0))
    assert (erf.receptive_field.height, erf.receptive_field.top) == (97, 20 - 48)
    assert erf.support.height == 40


def test_a_dynamic_region_conv_reaches_the_whole_image() -> None:
    erf = measure_erf(builder("DRConv"), (1, 32, 24, 24), ErfSettings(samples=2, seeds=1, bootstrap=0))
    assert (erf.receptive_field, erf.field_source) == (None, "probed")
    assert erf.reason == "the kernel of a convolution depends on the input"
    assert erf.support.height == 24


@pytest.mark.parametrize(
    ("reference", "size", "layer", "side", "centre"),
    [
        ("torchvision:resnet18", 224, "layer4", 435, 96.0),
        ("torchvision:resnet18", 224, "layer2", 99, 112.0),
        ("torchvision:squeezenet1_0", 127, "features", 155, 65.0),
        ("timm:convnext_atto", 96, "stages.1", 152, 51.5),
    ],
)
def test_networks_on_boxes(reference: str, size: int, layer: str, side: int, centre: float) -> None:
    module = blueprint(Case(reference)).module(seed=0)

    def measured(evaluation: str) -> Erf:
        settings = ErfSettings(
            samples=1, dtype="float64", layer=layer, layer_scale=1.0, bootstrap=0, evaluation=evaluation
        )
        return measure_erf(module, (1, 3, size, size), settings)

    boxes, whole = measured("auto"), measured("full")
    assert boxes.method == "demand"
    assert boxes.receptive_field.height == side
    assert boxes.centre == (centre, centre)
    assert np.abs(boxes.map - whole.map).max() <= 3e-15 * whole.map.max()


def test_a_classifier_is_probed_at_its_last_map() -> None:
    module = blueprint(Case("torchvision:resnet18")).module(seed=0)
    erf = measure_erf(module, (1, 3, 64, 64), ErfSettings(samples=1, bootstrap=0))
    assert erf.layer == "layer4"
    assert erf.output_size == (2, 2)
    assert any("probed at layer4" in warning for warning in erf.warnings)


def test_untrained_layer_scales_are_named_and_can_be_raised() -> None:
    hidden = measure_erf(builder("ConvNeXt"), (1, 32, 24, 24), ErfSettings(samples=2, seeds=1, bootstrap=0))
    assert any("untrained layer scales" in warning and "gamma" in warning for warning in hidden.warnings)
    assert hidden.metrics.agd is None
    assert "below 0.5 px" in hidden.metrics.agd_reason
    raised = measure_erf(
        builder("ConvNeXt"), (1, 32, 24, 24), ErfSettings(samples=2, seeds=1, bootstrap=0, layer_scale=1.0)
    )
    assert raised.metrics.sigma_px > 100 * hidden.metrics.sigma_px
    assert any("raised to 1" in warning for warning in raised.warnings)
