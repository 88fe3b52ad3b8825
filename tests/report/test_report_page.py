"""The page as text: complete, self-contained, escaped."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from convbench.pictures.field import Field
from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.report.io.load import load
from convbench.report.page.page import render_page
from tests.report.made_up_records import ENVIRONMENT, record, zoo

VOID = {"meta", "input", "br", "img", "link", "hr"}
EVIL = "</script><script>alert(1)</script><b a=\"'>&amp;"


class Reader(HTMLParser):
    """Collects elements and checks that each is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def field(label: str = "MRFA", size: int = 24) -> Field:
    y, x = np.mgrid[:size, :size] - size // 2
    map_ = np.exp(-(y**2 + x**2) / 18.0) * (abs(y) <= 6) * (abs(x) <= 6)
    figures = {"sigma_px": 2.9, "radius_50_px": 3.0, "radius_90_px": 6.0, "agd": 0.9, "area_ratio_50": 0.05}
    setup = {"statistic": "abs", "probe": "signs", "inputs": "noise", "samples": 4, "initialisations": 1, "depth": 1}
    distance = np.arange(9.0)
    share = np.exp(-(distance**2) / 18) / 60
    centre = (float(size // 2), float(size // 2))
    figures |= {"side_50_px": 7.0, "side_99_px": 13.0}
    return Field(label, map_, centre, (13, 13), figures, setup, distance, share, "convbench erf measure MRFA")


def test_the_page_is_whole_and_well_formed() -> None:
    sections = {"operators": [{"name": "conv", "macs": 3}]}
    page = render_page(Report(zoo(), ENVIRONMENT, sections, "convbench sweep", [field()]))
    reader = read(page)
    identifiers = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {"table", "scatter", "scaling", "roofline", "erf", "section-1", "environment"} <= set(identifiers)
    text = " ".join(reader.text)
    for expected in ("convbench sweep", "Test CPU 1", "logical_cores", "Pareto front", "convbench erf measure MRFA"):
        assert expected in text


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = render_page(Report(zoo(), ENVIRONMENT, fields=[field()]))
    for tag, attributes in read(page).elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)


def test_nothing_that_was_measured_can_run_in_the_page() -> None:
    evil = dataclasses.replace(record(), target=EVIL, error=EVIL, status="error", uncounted=EVIL, device_name=EVIL)
    report = Report(
        [evil, record("PyConv")], {EVIL: EVIL}, {EVIL: [{EVIL: EVIL}]}, EVIL, [dataclasses.replace(field(), label=EVIL)]
    )
    reader = read(render_page(report))
    assert [tag for tag, _ in reader.elements].count("script") == 1
    assert "b" not in {tag for tag, attributes in reader.elements if "a" in attributes}
    assert EVIL in " ".join(reader.text)


def test_empty_columns_are_left_out_and_others_keep_their_order() -> None:
    reader = read(render_page(Report([record("MRFA"), record("PyConv", ratio=1.5)])))
    columns = [attributes["data-column"] for _, attributes in reader.elements if "data-column" in attributes]
    assert "saved_for_backward_bytes" not in columns
    assert columns.index("macs") < columns.index("latency_ms") < columns.index("ratio")


def test_the_table_keeps_every_raw_number() -> None:
    records = [record("MRFA"), record("PyConv", ratio=None)]
    page = render_page(Report(records))
    for item in records:
        for value in (item.macs, item.latency_ms, item.peak_bytes, item.latency_p90_ms):
            assert f'data-raw="{value}"' in page


@pytest.mark.parametrize(("name", "suffix"), [("records.csv", ".csv"), ("records.json", ".json")])
def test_the_records_inside_the_page_are_those_of_the_file(tmp_path: Path, name: str, suffix: str) -> None:
    report = Report(zoo((32,), (14, 28)), ENVIRONMENT, command="convbench sweep")
    reader = read(render_page(report))
    address = next(attributes["href"] for _, attributes in reader.elements if attributes.get("download") == name)
    path = tmp_path / f"inside{suffix}"
    path.write_bytes(base64.b64decode(address.partition(",")[2]))
    write(tmp_path / f"outside{suffix}", report)
    assert path.read_bytes() == (tmp_path / f"outside{suffix}").read_bytes()
    assert load(path).records == report.records


@pytest.mark.parametrize(
    ("changed", "notice"),
    [
        ({"status": "oom", "error": "no memory"}, "1 case failed (1 oom)"),
        ({"latency_noise": "noisy"}, "~ marks 1 noisy latency"),
        ({"latency_noise": "invalid"}, "! marks 1 invalid latency"),
        ({"uncounted": "aten.fft×1"}, "MACs and FLOPs of MRFA are lower bounds"),
    ],
)
def test_what_must_be_known_before_a_figure_is_trusted_is_said(changed: dict[str, str], notice: str) -> None:
    assert notice in render_page(Report([record("PyConv"), record("MRFA", **changed)]))
    assert notice not in render_page(Report([record("PyConv"), record("MRFA")]))


def test_joined_environments_are_named_and_never_ratioed() -> None:
    parts = (Report([record("MRFA")], ENVIRONMENT), Report([record("MRFA")], origin="b.csv"))
    page = render_page(Report([record("MRFA"), record("MRFA")], sources=parts))
    text = " ".join(read(page).text)
    assert "These records come from 2 environments." in text
    assert "Not known: b.csv holds none." in text
    assert 'data-column="environment"' in page
    assert 'data-column="ratio"' not in page


def test_a_page_of_one_record_and_one_of_fields_only() -> None:
    assert "MRFA" in " ".join(read(render_page(Report([record()]))).text)
    reader = read(render_page(Report([], fields=[field(), field("PyConv")])))
    images = [attributes["src"] for tag, attributes in reader.elements if tag == "img"]
    assert len(images) == 1
    assert all(address.startswith("data:image/svg+xml;base64,") for address in images)


def test_the_page_shows_the_picture_that_files_hold() -> None:
    from convbench.pictures.figure import picture

    (image,) = [
        attributes for tag, attributes in read(render_page(Report([], fields=[field()]))).elements if tag == "img"
    ]
    drawn = base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,"))
    assert drawn == picture([field()], "svg")
    assert image["alt"] == "receptive fields of MRFA"


def test_fields_are_read_back_from_their_file(tmp_path: Path) -> None:
    import json

    made = field()
    description = {
        "command": "convbench erf measure MRFA",
        "fields": [
            {
                "target": "MRFA",
                **made.setup,
                **made.figures,
                "offset_y_px": 0.0,
                "offset_x_px": 0.0,
                "receptive_field_height_px": 13,
                "receptive_field_width_px": 13,
                "radial_distance_px": made.distance_px.tolist(),
                "radial_share": made.share.tolist(),
            }
        ],
    }
    np.savez_compressed(tmp_path / "fields.npz", description=json.dumps(description), map_0=made.map)
    read_back = load(tmp_path / "fields.npz").fields[0]
    assert read_back.centre == (12.0, 12.0)
    assert read_back.extent == (13, 13)
    assert read_back.command == "convbench erf measure MRFA"
    np.testing.assert_array_equal(read_back.map, made.map)
    assert {key: read_back.figures[key] for key in made.figures} == made.figures
