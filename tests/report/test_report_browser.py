"""The page in a real Chromium, opened from disk: it sorts, filters, shows its pictures and asks for nothing."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.report.plots.points import points
from convbench.report.plots.scatter import pareto_front
from tests.report.chromium import CHROMIUM, Browser, browser
from tests.report.made_up_records import ENVIRONMENT, zoo
from tests.report.test_report_page import field

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: .ci/browser.sh installs Debian's"),
]

RECORDS = zoo((32, 64, 128), (14, 28, 56))
RECORDS[3] = dataclasses.replace(RECORDS[3], status="oom", error="no memory", latency_ms=None)
RECORDS[4] = dataclasses.replace(RECORDS[4], uncounted="aten.fft×1")
VISIBLE = "[...document.querySelectorAll('#records tbody tr')].filter((row) => row.offsetParent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    sections = {"operators": [{"name": "conv", "macs": 30}, {"name": "linear", "macs": 4}]}
    write(path, Report(RECORDS, ENVIRONMENT, sections, "convbench sweep", [field(), field("PyConv")]))
    return path


@pytest.fixture(scope="module")
def shared_tab() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def tab(shared_tab: Browser, page: Path) -> Browser:
    shared_tab.call("Emulation.setEmulatedMedia", media="", features=[])
    shared_tab.open(page)
    return shared_tab


def column(tab: Browser, name: str, rows: str = VISIBLE) -> list[str]:
    """The raw values of a column in the order of the rows."""
    index = tab.run(f"document.querySelector('#records th[data-column={name}]').dataset.index")
    found: list[str] = tab.run(f"{rows}.map((row) => row.cells[{index}].dataset.raw)")
    return found


def test_it_asks_for_nothing_and_complains_of_nothing(tab: Browser, page: Path) -> None:
    tab.run("new Promise((done) => setTimeout(done, 300))")
    assert [address for address in tab.requests if not address.startswith("data:")] == [page.as_uri()]
    assert tab.complaints == []


def test_the_content_policy_lets_nothing_out(tab: Browser) -> None:
    answer = tab.run("fetch('https://example.org/').then(() => 'reached', () => 'refused')")
    assert answer == "refused"


def test_every_picture_is_shown(tab: Browser) -> None:
    images = "[...document.querySelectorAll('#erf img')]"
    assert tab.run(f"{images}.length") == 1
    (width,) = tab.run(
        f"Promise.all({images}.map(async (image) => {{ await image.decode(); return image.naturalWidth; }}))"
    )
    assert width >= 600
    for plot in ("scatter", "scaling", "roofline", "erf"):
        sizes = tab.run(
            f"[...document.querySelectorAll('#{plot} .panel:not([hidden]) .drawing > :is(svg, img)')]"
            ".map((svg) => svg.getBoundingClientRect()).map(({width, height}) => Math.min(width, height))"
        )
        assert sizes, plot
        assert min(sizes) > 50, plot


def test_a_click_sorts_by_number_and_another_turns_it_round(tab: Browser) -> None:
    numbers = sorted(record.macs or 0 for record in RECORDS)
    tab.click("#records th[data-column=macs] button")
    assert [int(raw) for raw in column(tab, "macs")] == numbers
    assert tab.run("document.querySelector('#records th[data-column=macs]').ariaSort") == "ascending"
    tab.click("#records th[data-column=macs] button")
    assert [int(raw) for raw in column(tab, "macs")] == numbers[::-1]
    tab.click("#records th[data-column=target] button")
    assert column(tab, "target") == sorted((record.target for record in RECORDS), key=str.lower)
    assert tab.run("document.querySelector('#records th[data-column=macs]').ariaSort") is None


def test_what_is_empty_is_sorted_last_either_way(tab: Browser) -> None:
    for _ in range(2):
        tab.click("#records th[data-column=latency_ms] button")
        raw = column(tab, "latency_ms")
        assert raw[-1] == ""
        assert "" not in raw[:-1]


def test_headings_sort_by_keyboard(tab: Browser) -> None:
    tab.run("document.querySelector('#records th[data-column=params] button').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert [int(raw) for raw in column(tab, "params")] == sorted(record.params or 0 for record in RECORDS)


def test_break_downs_sort_too(tab: Browser) -> None:
    tab.click("#section-table-1 th[data-column=macs] button")
    rows = "[...document.querySelectorAll('#section-table-1 tbody tr')].map((row) => row.cells[0].textContent)"
    assert tab.run(rows) == ["linear", "conv"]


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("conv2former", lambda record: record.target == "Conv2Former"),
        ("conv2former 56x56", lambda record: record.target == "Conv2Former" and "56x56" in record.input_shape),
        ("macs>=1e8", lambda record: record.macs >= 1e8),
        ("latency_ms<0.5 macs>1e6", lambda record: (record.latency_ms or 9) < 0.5 and record.macs > 1e6),
        ("params=9216", lambda record: record.params == 9216),
        ("target!=MRFA", lambda record: record.target != "MRFA"),
        ("status=oom", lambda record: record.status == "oom"),
        ("nothing<5", lambda record: False),
        ("   ", lambda record: True),
    ],
)
def test_typing_filters_rows_by_words_and_conditions(tab: Browser, query: str, fits: object) -> None:
    assert callable(fits)
    expected = [record for record in RECORDS if fits(record)]
    tab.type("#filter", query)
    assert len(column(tab, "target")) == len(expected)
    assert column(tab, "target") == [record.target for record in expected]
    assert tab.run("document.getElementById('count').value") == f"{len(expected)} of {len(RECORDS)} rows"


def test_filtering_takes_cases_out_of_the_plots_and_brings_them_back(tab: Browser) -> None:
    shown = "#scatter .panel:not([hidden]) .mark"
    marks = f"[...document.querySelectorAll('{shown}')].filter((mark) => mark.getClientRects().length).length"
    every = tab.run(marks)
    tab.type("#filter", "MRFA")
    assert tab.run(marks) == 1
    tab.type("#filter", "")
    assert tab.run(marks) == every > 1


def test_the_front_in_the_page_is_the_computed_one_and_follows_the_filter(tab: Browser) -> None:
    shape = tab.run("document.querySelector('#scatter .panel:not([hidden]) figcaption').textContent").replace("×", "x")
    shown = [
        point for point in points(Report(RECORDS)) if point.record.input_shape == shape and point.record.latency_ms
    ]
    for query in ("", "target!=Bottleneck", "target!=Bottleneck target!=DepthwiseSeparable"):
        tab.type("#filter", query)
        left = [point for point in shown if f"target!={point.record.target}" not in query.split()]
        front = [
            left[index].row
            for index in pareto_front([(point.record.macs or 0, point.record.latency_ms or 0) for point in left])
        ]
        corners = tab.run("document.querySelector('#scatter .panel:not([hidden]) .front').getAttribute('d')")
        places = {
            row: tab.run(
                f"(({{x, y}}) => [Number(x), Number(y)])(document.querySelector("
                f"'#scatter .panel:not([hidden]) .mark[data-row=\"{row}\"]').dataset)"
            )
            for row in front
        }
        expected = "M{} {}".format(*places[front[0]]) + "".join("H{}V{}".format(*places[row]) for row in front[1:])
        assert _numbers(corners) == _numbers(expected), query


def _numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", line)]


def test_columns_are_shown_and_hidden(tab: Browser) -> None:
    shown = "!!document.querySelector('#records th[data-column=latency_p90_ms]').offsetParent"
    assert tab.run(shown) is False
    tab.click("#columns summary")
    index = tab.run("document.querySelector('#records th[data-column=latency_p90_ms]').dataset.index")
    tab.click(f"#columns input[value='{index}']")
    assert tab.run(shown) is True
    tab.click(f"#columns input[value='{index}']")
    assert tab.run(shown) is False


def test_a_choice_shows_one_panel_at_a_time(tab: Browser) -> None:
    for plot in ("scatter", "scaling", "roofline"):
        names = tab.run(f"[...document.querySelectorAll('#{plot} option')].map((option) => option.textContent)")
        for index, name in enumerate(names):
            tab.run(
                f"(() => {{ const select = document.querySelector('#{plot} select'); select.value = {index}; "
                "select.dispatchEvent(new Event('change')); })()"
            )
            visible = (
                f"[...document.querySelectorAll('#{plot} .panel')].filter((panel) => panel.offsetParent)"
                ".map((panel) => panel.querySelector('figcaption').textContent)"
            )
            assert tab.run(visible) == [name]


def test_pointing_at_a_case_says_what_it_is_and_a_click_finds_its_row(tab: Browser) -> None:
    mark = "#scatter .panel:not([hidden]) .mark[data-series='1']"
    tab.click(mark)
    assert tab.run("document.querySelector('tr.found').cells[0].textContent") == "MRFA"
    box = tab.run(
        "(({left, top, width, height}) => {"
        " scrollTo(0, scrollY + top - 300); return [left + width / 2, 300 + height / 2]; })"
        f'(document.querySelector("{mark} .marker").getBoundingClientRect())'
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    text = tab.run("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    assert text.startswith("MRFA")
    assert "latency: " in text
    assert "MACs: " in text
    assert tab.run("document.querySelectorAll('#scatter .panel:not([hidden]) .plot.focus').length") == 1


def test_dark_readers_get_a_dark_page_and_print_a_light_one(tab: Browser) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    tab.dark(False)
    assert tab.run(paper) == "rgb(255, 255, 255)"
    tab.dark(True)
    assert tab.run(paper) == "rgb(20, 24, 31)"
    assert tab.pdf().startswith(b"%PDF")
    tab.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert tab.run(paper) == "rgb(255, 255, 255)"
    assert tab.run("getComputedStyle(document.querySelector('.controls')).display") == "none"


@pytest.mark.parametrize("width", [390, 800, 1600])
def test_no_window_is_too_narrow(tab: Browser, page: Path, width: int) -> None:
    tab.open(page, width=width)
    assert tab.run("document.documentElement.scrollWidth") <= width


def test_without_scripts_every_panel_can_be_read(tab: Browser, page: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(page)
        assert tab.run("document.getElementById('count').value") == ""  # the page's own script did not run
        panels = "[...document.querySelectorAll('#roofline .panel')].map((panel) => panel.offsetHeight > 100)"
        shown = tab.run(panels)
        assert len(shown) > 1
        assert all(shown)
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_downloads_hold_the_records(tab: Browser) -> None:
    content = tab.run("document.querySelector('a[download=\"records.json\"]').href")
    rows = json.loads(base64.b64decode(content.partition(",")[2]))["records"]
    assert [row["macs"] for row in rows] == [record.macs for record in RECORDS]
