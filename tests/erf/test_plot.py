"""Pictures: what they say, in every format, and that drawing needs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.colors import LogNorm
from torch import nn

from convbench.measures.erf import Erf, ErfSettings, measure_erf
from convbench.report.io.formats import FIELDS, write, write_outputs
from convbench.report.io.load import load
from convbench.report.plots.erf_plot import LabelledErf, draw_erf
from convbench.report.tables.erf import erf_report
from tests.erf.closed_form import constant_conv


def field(build: Callable[[], nn.Module], depth: int = 1, **changes: object) -> Erf:
    settings = ErfSettings(samples=2, seeds=2, depth=depth, bootstrap=0, **changes)  # type: ignore[arg-type]
    return measure_erf(lambda _seed: build(), (1, 1, 32, 32), settings)


@pytest.fixture(scope="module")
def erfs() -> list[LabelledErf]:
    fields = []
    for label, build in {
        "box 5": lambda: constant_conv(5),
        "strip": lambda: constant_conv((1, 9)),
        "a pixel with a very long name of several words": lambda: constant_conv(1),
        "gate": lambda: nn.Sequential(constant_conv(3), nn.GroupNorm(1, 1)),
    }.items():
        fields += [LabelledErf(label, field(build, depth)) for depth in (1, 3)]
    return fields


def texts(figure: object) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda item: hasattr(item, "get_text")))


def test_a_picture_says_what_it_shows(erfs: list[LabelledErf]) -> None:
    shown = texts(draw_erf(erfs))
    assert "mean |gradient|, random ±1 over output channels" in shown
    assert "32×32 input, N(0, 1) noise, 2 inputs × 2 initialisations, float32" in shown
    assert "RF 13" in shown
    assert "RF 1×9" in shown
    assert "RF whole image" in shown
    assert "AGD –" in shown  # one pixel
    assert f"σ {erfs[0].erf.metrics.sigma_px:.2f}" in shown
    assert f"AGD {erfs[0].erf.metrics.agd:.3f}" in shown
    for label in ("theoretical field", "square with 50% (S50)", "Gaussian of the same width", "3 blocks"):
        assert label in shown


def test_every_map_has_the_same_colours(erfs: list[LabelledErf]) -> None:
    images = [image for axes in draw_erf(erfs).axes for image in axes.images]
    assert len(images) == 8
    assert {(type(image.norm), image.norm.vmin, image.norm.vmax) for image in images} == {(LogNorm, 1e-4, 1.0)}
    assert {image.get_cmap().name for image in images} == {"magma"}


def test_the_theoretical_field_is_outlined_where_it_lies(erfs: list[LabelledErf]) -> None:
    axes = draw_erf(erfs[:1]).axes[0]
    dashed = [patch for patch in axes.patches if patch.get_linestyle() in ("--", "dashed")]
    (box,) = dashed
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-2.5, -2.5, 5, 5)


def test_one_target_is_drawn_on_both_scales(erfs: list[LabelledErf]) -> None:
    images = [image for axes in draw_erf(erfs[:1]).axes for image in axes.images]
    assert [isinstance(image.norm, LogNorm) for image in images] == [True, False]


def test_depths_missing_for_one_target_leave_a_gap(erfs: list[LabelledErf]) -> None:
    images = [image for axes in draw_erf(erfs[:3], scale="linear").axes for image in axes.images]
    assert len(images) == 3


def test_different_statistics_are_all_named(erfs: list[LabelledErf]) -> None:
    squared = LabelledErf("squared", field(lambda: constant_conv(5), statistic="square", probe="ones"))
    shown = texts(draw_erf([erfs[0], squared]))
    assert "mean |gradient| / mean gradient²" in shown
    assert "random ±1 over output channels / sum over output channels" in shown


def test_replknets_maps_are_labelled_as_such() -> None:
    shown = texts(draw_erf([LabelledErf("box", field(lambda: constant_conv(5), mode="replknet"))]))
    assert "RepLKNet's receptive field" in shown


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_files(erfs: list[LabelledErf], tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"field{suffix}"
    write(path, erf_report(erfs[:2]))
    content = path.read_bytes()
    assert content.startswith(magic)
    if suffix == ".svg":
        assert "theoretical field" in content.decode()


@pytest.mark.parametrize("suffix", FIELDS)
def test_fields_are_written_to_every_format(erfs: list[LabelledErf], tmp_path: Path, suffix: str) -> None:
    failed = {"target": "broken", "status": "error", "error": "forward: no"}
    (output,) = write_outputs([tmp_path / f"fields{suffix}"], erf_report(erfs[:1], [failed]))
    assert (output.files, output.failure) == ((output.path,), None)
    content = output.path.read_bytes()
    if suffix in (".csv", ".json", ".md", ".tex", ".html"):
        assert erfs[0].label.encode() in content
        assert b"forward: no" in content
    if suffix == ".npz":
        (read,) = load(output.path).fields
        assert (read.map == erfs[0].erf.map).all()


def test_a_picture_of_nothing_is_told(tmp_path: Path) -> None:
    (output,) = write_outputs([tmp_path / "none.png"], erf_report([]))
    assert output.failure is not None
    assert "none was measured" in output.failure
    with pytest.raises(ValueError, match="no receptive field"):
        draw_erf([])


def test_a_name_with_dollars_is_no_formula() -> None:
    shown = texts(draw_erf([LabelledErf(r"cost $\frac$ \x1b", field(lambda: constant_conv(5)))]))
    assert r"cost \$\frac\$ \x1b" in shown


def test_drawing_imports_no_torch() -> None:
    code = "import sys, convbench.report.plots.erf_plot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
