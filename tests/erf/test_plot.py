"""Pictures: what they say, what they fit, in every format, and that drawing needs no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.text import Text
from torch import nn

import convbench
from convbench.errors import OptionError, UsageError
from convbench.measures.erf import Erf, ErfSettings, measure_erf
from convbench.pictures.figure import picture
from convbench.pictures.panels import _apart, half_window, text_width
from convbench.report.io.formats import FIELDS, write, write_outputs
from convbench.report.io.load import load
from convbench.report.tables.erf import erf_report
from tests.erf.closed_form import constant_conv


def field(build: Callable[[], nn.Module], label: str = "", depth: int = 1, **changes: object) -> Erf:
    settings = ErfSettings(samples=2, seeds=2, depth=depth, bootstrap=0, **changes)  # type: ignore[arg-type]
    return replace(measure_erf(lambda _seed: build(), (1, 1, 32, 32), settings), label=label)


@pytest.fixture(scope="module")
def erfs() -> list[Erf]:
    builds = {
        "box 5": lambda: constant_conv(5),
        "strip": lambda: constant_conv((1, 9)),
        "a pixel with a very long name of several words": lambda: constant_conv(1),
        "gate": lambda: nn.Sequential(constant_conv(3), nn.GroupNorm(1, 1)),
    }
    return [field(build, label, depth) for label, build in builds.items() for depth in (1, 3)]


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def said(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure)).replace("\u00a0", " ")


def maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def test_a_picture_says_what_it_shows(erfs: list[Erf]) -> None:
    shown = said(convbench.plot_erf(erfs))
    assert "mean |gradient|, random ±1 over output channels" in shown
    assert "32×32 input, N(0, 1) noise, 2 inputs × 2 initialisations, float32" in " ".join(shown.split())
    assert "RF 13" in shown
    assert "RF 1×9" in shown
    assert "AGD –" in shown  # one pixel
    assert f"σ {erfs[0].metrics.sigma_px:.2f}" in shown
    assert f"AGD {erfs[0].metrics.agd:.3f}" in shown
    for label in (
        "theoretical field",
        "square with 50% (S50)",
        "circle with 90% (R90)",
        "Gaussian of the same",
        "zero",
    ):
        assert label in shown
    assert {"one block", "3 blocks"} <= set(shown.split("\n"))


def test_the_heading_can_be_left_to_a_papers_caption(erfs: list[Erf]) -> None:
    with_heading, without = (convbench.plot_erf(erfs[:1], heading=heading) for heading in (True, False))
    assert "noise" not in said(without)
    assert "σ" in said(without)
    assert without.get_size_inches()[1] < with_heading.get_size_inches()[1]


@pytest.mark.parametrize("width", [3.3, 7.0])
def test_a_figure_fits_a_papers_columns_in_type_that_can_be_read(erfs: list[Erf], width: float) -> None:
    figure = convbench.plot_erf(erfs, width_in=width)
    assert figure.get_size_inches()[0] == pytest.approx(width)
    assert min(text.get_fontsize() for text in texts(figure)) >= 6
    FigureCanvasAgg(figure).draw()
    across, up = figure.get_size_inches() * figure.dpi
    for text in texts(figure):
        box = text.get_window_extent()
        assert min(box.x0, box.y0) > -1, text.get_text()
        assert box.x1 < across + 1, text.get_text()
        assert box.y1 < up + 1, text.get_text()
    panels = [axes.get_window_extent() for axes in maps(figure)]
    for index, one in enumerate(panels):
        assert not any(one.overlaps(other) for other in panels[index + 1 :])


def test_captions_do_not_meet(erfs: list[Erf]) -> None:
    figure = convbench.plot_erf(erfs)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in texts(figure) if text.get_text().startswith("σ")]
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[index + 1 :])


def test_every_map_has_the_same_colours(erfs: list[Erf]) -> None:
    images = [image for axes in maps(convbench.plot_erf(erfs)) for image in axes.images]
    assert len(images) == 8
    assert {(type(image.norm), image.norm.vmin, image.norm.vmax) for image in images} == {(LogNorm, 1e-4, 1.0)}


def test_what_is_below_the_scale_does_not_look_like_zero() -> None:
    erf = field(lambda: constant_conv(5))
    map_ = erf.map.copy()
    map_[16, 14] = 1e-7 * map_.max()
    (axes,) = maps(replace(erf, map=map_).plot(scale="log"))
    (image,) = axes.images
    colours = image.to_rgba(image.get_array())
    middle = np.array(colours.shape[:2]) // 2
    below, zero = to_hex(colours[middle[0], middle[1] - 2]), to_hex(colours[0, 0])
    assert (below, zero) == ("#000000", "#aeb6c2")


def test_each_panel_shows_its_own_field_or_all_share_a_window(erfs: list[Erf]) -> None:
    def windows(**drawing: Any) -> list[float]:
        return [axes.get_xlim()[1] for axes in maps(convbench.plot_erf(erfs, **drawing))]

    own, common = windows(), windows(common=True)
    assert min(own) < 2 < 5 < max(own)
    assert set(common) == {max(own)}
    for erf in erfs:
        described = erf.described
        if described.extent is not None:
            assert half_window(described) > max(described.extent) / 2


def outlines(axes: Axes) -> dict[str, float]:
    """Half a side or a radius, by kind and style of the line."""
    found = {}
    for patch in axes.patches:
        size = patch.get_width() / 2 if isinstance(patch, Rectangle) else patch.get_radius()
        found[f"{type(patch).__name__} {patch.get_linestyle()} {to_hex(patch.get_edgecolor())}"] = size
    return found


def test_outlines_lie_where_they_belong(erfs: list[Erf]) -> None:
    """The line of the field lies around it, the others inside of what they hold."""
    erf = erfs[1]  # 13 pixels
    (axes,) = maps(convbench.plot_erf([erf], scale="log"))
    found = outlines(axes)
    line = 0.5
    assert found["Rectangle -- #56b4e9"] == pytest.approx(6.5, abs=line)
    assert found["Rectangle - #ffffff"] == pytest.approx(erf.metrics.side_50_px / 2, abs=line)
    assert found["Rectangle : #ffffff"] == pytest.approx(erf.metrics.side_99_px / 2, abs=line)
    assert found["Circle - #7fe0a0"] == pytest.approx(erf.metrics.radius_50_px, abs=line)
    assert found["Circle -- #7fe0a0"] == pytest.approx(erf.metrics.radius_90_px, abs=line)


def test_no_outline_covers_another(erfs: list[Erf]) -> None:
    """Of an even 5×5 box, S99 is the field and S50 next to it; lines are 0.8 pt wide with a rim of 0.45 pt."""
    for axes in maps(convbench.plot_erf(erfs[:2])):
        width_pt = axes.get_window_extent().width * 72 / axes.figure.dpi
        pt = width_pt / (axes.get_xlim()[1] - axes.get_xlim()[0])
        sizes = sorted(size * pt for size in outlines(axes).values())
        assert len(sizes) == 5
        assert min(np.diff(sizes)) > 0.8


def test_outlines_are_moved_apart_only_as_far_as_they_must() -> None:
    assert _apart([5.0, 5.0, 4.9, 2.0], 0.3) == pytest.approx([5.0, 4.7, 4.4, 2.0])
    assert _apart([5.0, 5.0], 3.0) == [5.0, 4.5]


def test_one_target_is_drawn_on_both_scales_several_on_one(erfs: list[Erf]) -> None:
    images = [image for axes in maps(erfs[0].plot()) for image in axes.images]
    assert [isinstance(image.norm, LogNorm) for image in images] == [True, False]
    both = maps(convbench.plot_erf(erfs[:3], scale="both"))
    assert len(both) == 6
    assert len(maps(convbench.plot_erf(erfs[:3], scale="linear"))) == 3


def test_both_scales_of_a_field_stand_side_by_side(erfs: list[Erf]) -> None:
    axes = maps(convbench.plot_erf(erfs[::2], scale="both"))
    log, linear = axes[0].get_position(), axes[1].get_position()
    assert log.y0 == linear.y0
    assert len({round(each.get_position().x0, 6) for each in axes}) % 2 == 0


@pytest.mark.parametrize(("columns", "across"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_columns_are_as_asked_for(erfs: list[Erf], columns: int, across: int) -> None:
    axes = maps(convbench.plot_erf(erfs[::2], columns=columns))
    assert len({round(each.get_position().x0, 6) for each in axes}) == across


def test_different_statistics_are_all_named(erfs: list[Erf]) -> None:
    squared = field(lambda: constant_conv(5), "squared", statistic="square", probe="ones")
    shown = " ".join(said(convbench.plot_erf([erfs[0], squared])).split())
    assert "mean |gradient| / mean gradient²" in shown
    assert "random ±1 over output channels / sum over output channels" in shown


def test_replknets_maps_are_labelled_as_such_with_its_own_figures() -> None:
    erf = field(lambda: constant_conv(5), "box", mode="replknet")
    shown = said(erf.plot())
    assert "RepLKNet's receptive field" in shown
    assert f"r50 {100 * erf.replknet.area_ratios[0.5]:.2g}%" in shown
    assert "S50 3" not in shown


def test_only_a_propagated_field_is_called_theoretical(erfs: list[Erf]) -> None:
    shown = said(replace(erfs[0], field_source="probed").plot())
    assert "RF unknown" in shown
    assert "theoretical" not in shown
    assert "RF unbounded" in said(replace(erfs[0], receptive_field=None).plot())


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_files(erfs: list[Erf], tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"field{suffix}"
    write(path, erf_report(erfs[:2]))
    content = path.read_bytes()
    assert content.startswith(magic)
    if suffix == ".svg":
        assert "theoretical field" in content.decode()
    if suffix == ".png":
        assert int.from_bytes(content[16:20], "big") == 2100  # 7 inches of 300 dots
    assert content == picture([erf.described for erf in erfs[:2]], suffix[1:])


@pytest.mark.parametrize("suffix", FIELDS)
def test_fields_are_written_to_every_format(erfs: list[Erf], tmp_path: Path, suffix: str) -> None:
    failed = {"target": "broken", "status": "error", "error": "forward: no"}
    (output,) = write_outputs([tmp_path / f"fields{suffix}"], erf_report(erfs[:1], [failed]))
    assert (output.files, output.failure) == ((output.path,), None)
    content = output.path.read_bytes()
    if suffix in (".csv", ".json", ".md", ".tex", ".html"):
        assert erfs[0].label.encode() in content
        assert b"forward: no" in content
    if suffix == ".npz":
        (read,) = load(output.path).fields
        drawn = erfs[0].described
        assert (read.map == drawn.map).all()
        assert read.gaussian == pytest.approx(drawn.gaussian)
        assert (read.centre, read.extent, read.is_propagated) == (drawn.centre, drawn.extent, True)


def test_a_saved_field_is_drawn_as_it_was(erfs: list[Erf], tmp_path: Path) -> None:
    write(tmp_path / "fields.npz", erf_report(erfs[:2]))
    write(tmp_path / "measured.svg", erf_report(erfs[:2]))
    read = load(tmp_path / "fields.npz")
    write(tmp_path / "read.svg", read)
    assert (tmp_path / "read.svg").read_bytes() == (tmp_path / "measured.svg").read_bytes()


def test_a_picture_of_nothing_is_told(tmp_path: Path) -> None:
    (output,) = write_outputs([tmp_path / "none.png"], erf_report([]))
    assert output.failure is not None
    assert "none was measured" in output.failure
    with pytest.raises(UsageError, match="at least one field"):
        convbench.plot_erf([])


def test_labels_replace_the_names(erfs: list[Erf]) -> None:
    assert "ours" in said(convbench.plot_erf(erfs[:1], ["ours"], scale="log"))
    with pytest.raises(UsageError, match="2 labels for 1 field"):
        convbench.plot_erf(erfs[:1], ["ours", "theirs"])


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ({"scale": "lin"}, "scale is one of log, linear, both; got 'lin'. Did you mean 'linear'"),
        ({"width_in": 0.5}, "between 2 and 40 inches wide; got 0.5"),
        ({"columns": 0}, "columns must be 1 to 10 in 7 inches; got 0"),
        ({"columns": 30}, "columns must be 1 to 10"),
    ],
)
def test_a_drawing_that_cannot_be_made_is_refused(erfs: list[Erf], drawing: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        convbench.plot_erf(erfs[:1], **drawing)


def test_a_name_with_dollars_is_no_formula() -> None:
    shown = said(field(lambda: constant_conv(5), r"cost $\frac$ \x1b").plot(scale="log"))
    assert r"cost \$\frac\$ \x1b" in shown


def test_long_names_are_broken_to_fit_their_panel(erfs: list[Erf]) -> None:
    figure = convbench.plot_erf(erfs, columns=6)
    (title,) = [text for text in texts(figure) if text.get_text().startswith("a pixel")]
    lines = title.get_text().split("\n")
    assert len(lines) > 1
    cell = maps(figure)[0].get_position().width * figure.get_size_inches()[0]
    assert max(text_width(line, 7) for line in lines) < 1.1 * cell


def test_drawing_imports_no_torch() -> None:
    code = "import sys, convbench.pictures.figure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_circles_and_squares_are_all_there(erfs: list[Erf]) -> None:
    (axes,) = maps(convbench.plot_erf(erfs[:1], scale="log"))
    assert sum(isinstance(patch, Circle) for patch in axes.patches) == 2
    assert sum(isinstance(patch, Rectangle) for patch in axes.patches) == 3


def test_growth_is_drawn_over_depth(erfs: list[Erf]) -> None:
    sizes, scores = convbench.plot_erf(erfs[:2], growth=True).axes
    sigma, side = sizes.lines
    assert list(sigma.get_xdata()) == [1, 3]
    assert list(sigma.get_ydata()) == [erf.metrics.sigma_px for erf in erfs[:2]]
    assert list(side.get_ydata()) == [5, 13]
    assert list(scores.lines[0].get_ydata()) == [erf.metrics.agd for erf in erfs[:2]]
    assert [text.get_text() for text in sizes.get_xticklabels()] == ["1", "3"]


def test_growth_is_drawn_over_layers_where_there_is_one_depth(erfs: list[Erf]) -> None:
    layers = [replace(erf, label=f"net {layer}", layer=layer, depth=1) for erf, layer in zip(erfs, "ab", strict=False)]
    figure = convbench.plot_erf(layers, growth=True)
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1]
    assert "net" in said(figure).split("\n")
    with pytest.raises(OptionError, match="several depths or layers"):
        convbench.plot_erf(erfs[:1], growth=True)
