"""The report as one HTML page that needs nothing else: no network, no other file, readable without scripts too."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from convbench.report.environments import flatten
from convbench.report.io.cells import tables_of
from convbench.report.io.csv_file import to_csv
from convbench.report.io.document import Report
from convbench.report.io.json_file import to_json
from convbench.report.page.table import record_table, section_table
from convbench.report.plots import draw_plots
from convbench.report.plots.points import letter
from convbench.report.plots.style import base_css, marks_css
from convbench.text import visible
from convbench.version import __version__


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part of the records comes from.

    groups: the environment's entries under their common names, flattened; empty where the environment is not known.
    """

    letter: str
    count: int
    files: str
    command: str
    groups: dict[str, list[tuple[str, str]]]


def to_html(report: Report) -> dict[str, str]:
    """The page as the one file of its format."""
    return {"": render_page(report)}


def render_page(report: Report) -> str:
    """The page as text: title, commands, table, plots, receptive fields, environment."""
    template = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    return template.render(
        title=report.title or _title(report),
        facts=_facts(report),
        commands=report.command.splitlines(),
        notices=_notices(report),
        table=record_table(report),
        sections={item.name: section_table(item.rows) for item in tables_of(report) if item.name},
        plots=draw_plots(report),
        origins=_origins(report),
        downloads=_downloads(report),
        version=__version__,
        css=_resource("page.css"),
        plot_css=base_css() + marks_css(),
        dark_css=marks_css(dark=True),
        script=_resource("page.js"),
    )


def _shown(value: Any) -> Any:
    """Text without characters that no page may hold, or that turn the text around them; markup of ours as it is."""
    return visible(value) if type(value) is str else value


def _resource(name: str) -> str:
    return (files("convbench.report.page") / name).read_text(encoding="utf-8")


def _title(report: Report) -> str:
    targets = list(
        dict.fromkeys([record.target for record in report.records] or [field.label for field in report.fields])
    )
    if not targets:
        return ", ".join(report.sections).replace("_", " ").capitalize() or "No records"
    return ", ".join(targets) if len(targets) <= 3 else f"{len(targets)} targets measured with convbench"


def _facts(report: Report) -> list[str]:
    records = report.records
    facts = []
    if records or not report.sections:
        facts = [_plural(len(records), "case"), _plural(len({record.target for record in records}), "target")]
    facts += sorted({record.device_name or record.device or "" for record in records} - {""})
    facts += [f"torch {version}" for version in sorted({record.torch_version or "" for record in records} - {""})]
    days = sorted({(record.created_at or "")[:10] for record in records} - {""})
    return [*facts, *([days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"] if days else [])]


def _notices(report: Report) -> list[str]:
    """What must be known before a figure is trusted."""
    notices = []
    if report.sources:
        notices.append(
            f"These records come from {len(report.sources)} environments. Their costs may be compared, their times may "
            "not: every plot keeps environments apart, and a ratio refers to a baseline of its own environment only."
        )
    failed = Counter(record.status for record in report.records if record.status != "ok")
    if failed:
        reasons = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        notices.append(f"{_plural(failed.total(), 'case')} failed ({reasons}); the table says why.")
    noise = Counter(record.latency_noise for record in report.records)
    if noise["noisy"]:
        notices.append(f"~ marks {_plural(noise['noisy'], 'noisy latency', 'noisy latencies')}: read with care.")
    if noise["invalid"]:
        invalid = _plural(noise["invalid"], "invalid latency", "invalid latencies")
        notices.append(f"! marks {invalid}: too much else ran on the machine, so nothing follows from them.")
    uncounted = list(dict.fromkeys(record.target for record in report.records if record.uncounted))
    if uncounted:
        notices.append(
            f"MACs and FLOPs of {', '.join(uncounted)} are lower bounds (≥): some operators have no cost formula."
        )
    return notices


def _origins(report: Report) -> list[Origin]:
    return [
        Origin(
            letter(index) if report.sources else "",
            len(part.records),
            ", ".join(part.origin.splitlines()),
            part.command if report.sources else "",
            _groups(part.environment),
        )
        for index, part in enumerate(report.parts)
    ]


def _groups(environment: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, value in flatten(environment):
        group, _, rest = name.partition(".")
        groups.setdefault(group if rest else "", []).append((rest or name, value))
    return groups


def _downloads(report: Report) -> list[tuple[str, str]]:
    """Name and address of the records as data files, carried inside the page."""
    if not report.records:
        return []
    contents: dict[str, tuple[str, Any]] = {
        "records.csv": ("text/csv", to_csv(report)[""]),
        "records.json": ("application/json", to_json(report)[""]),
    }
    return [
        (name, f"data:{kind};charset=utf-8;base64,{base64.b64encode(_encoded(content)).decode()}")
        for name, (kind, content) in contents.items()
    ]


def _encoded(content: str) -> bytes:
    return content.encode(errors="backslashreplace")


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
