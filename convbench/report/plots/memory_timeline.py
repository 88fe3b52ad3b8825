"""Allocation over one call, as a picture or as a table of its changes."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from convbench.report.io.formats import PICTURES
from convbench.report.units import bytes_
from convbench.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from convbench.measures.memory import Memory

SUFFIXES = (*PICTURES, ".csv")
COLUMNS = ("index", "phase", "operator", "module", "change_bytes", "live_bytes")

_MIB = 2**20
_LAYERS = 7
_FEW = 4
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")  # Okabe and Ito's palette
_WEIGHTS, _INPUT, _ROOT, _REST = "weights", "input", "the target itself", "other modules"
_GREYS = {_WEIGHTS: "#6b6b6b", _INPUT: "#a6a6a6", _REST: "#d9d9d9"}


def timeline_content(memory: Memory, suffix: str) -> str | bytes:
    """A file of the course of ``memory``'s call: a picture, or its table where ``suffix`` is .csv.

    The picture stacks what is alive by the module that made it, over the changes in their order. The table has one row
    a change, in bytes.
    """
    if suffix.lower() == ".csv":
        return timeline_csv(memory)
    content = io.BytesIO()
    timeline_figure(memory).savefig(content, format=suffix.lower()[1:], dpi=160, facecolor="white")
    return content.getvalue()


def timeline_csv(memory: Memory) -> str:
    """One row a change: index, phase, operator, module, change_bytes, live_bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(event, name) for name in COLUMNS] for event in memory.timeline)
    return text.getvalue()


def timeline_layers(memory: Memory) -> dict[str, list[int]]:
    """Bytes alive after each change, by who made them: weights, input, the largest modules, all the others.

    Modules are taken together under the shortest paths that tell at least four of them apart. The layers add up to the
    timeline's ``live_bytes`` at every change.
    """
    start = {_WEIGHTS: memory.weights_bytes, _INPUT: memory.input_bytes}
    courses: dict[str, list[int]] = {name: [size] for name, size in start.items()}
    depth = _telling_depth({event.module for event in memory.timeline})
    for index, event in enumerate(memory.timeline):
        name = _layer(event.module, depth)
        courses.setdefault(name, [0] * (index + 1))
        for other, course in courses.items():
            course.append(course[-1] + (event.change_bytes if other == name else 0))
    courses = {name: course[1:] for name, course in courses.items()}
    modules = sorted((name for name in courses if name not in start), key=lambda name: -max(courses[name]))
    layers = {name: courses[name] for name in (*start, *modules[:_LAYERS])}
    if rest := [courses[name] for name in modules[_LAYERS:]]:
        layers[_REST] = [sum(sizes) for sizes in zip(*rest, strict=True)]
    return layers


def timeline_figure(memory: Memory) -> Figure:
    """The picture of `draw_timeline`."""
    from matplotlib.figure import Figure

    layers = timeline_layers(memory)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    colours = iter(_COLOURS)
    axes.stackplot(
        range(len(memory.timeline)),
        *([size / _MIB for size in layer] for layer in layers.values()),
        labels=[one_line(name).replace("$", r"\$") for name in layers],
        colors=[_GREYS.get(name) or next(colours) for name in layers],
        step="post",
    )
    _mark_phases(axes, memory)
    _mark_peak(axes, memory)
    axes.set_xlim(0, max(len(memory.timeline) - 1, 1))
    axes.set_ylim(0, 1.12 * max(event.live_bytes for event in memory.timeline) / _MIB)
    axes.set_xlabel("allocations and releases, in order")
    axes.set_ylabel("alive (MiB)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(*(reversed(part) for part in axes.get_legend_handles_labels()), loc="upper left",
                bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, title="made by", title_fontsize=8)  # fmt: skip
    return figure


def _layer(module: str, depth: int) -> str:
    return {"(weights)": _WEIGHTS, "(input)": _INPUT, "": _ROOT}.get(module) or _shortened(module, depth)


def _shortened(module: str, depth: int) -> str:
    return ".".join(module.split(".")[:depth])


def _telling_depth(modules: set[str]) -> int:
    named = {module for module in modules if module and not module.startswith("(")}
    deepest = max((module.count(".") + 1 for module in named), default=1)
    depths = range(1, deepest)
    return next((depth for depth in depths if len({_shortened(module, depth) for module in named}) >= _FEW), deepest)


def _mark_phases(axes: Axes, memory: Memory) -> None:
    for event in memory.timeline:
        if event.operator == f"({event.phase})":
            axes.axvline(event.index, color="0.3", linewidth=0.8, linestyle=":")
            axes.annotate(event.phase, (event.index, 1), xycoords=("data", "axes fraction"), fontsize=8, color="0.3",
                          xytext=(4, -4), textcoords="offset points", va="top")  # fmt: skip


def _mark_peak(axes: Axes, memory: Memory) -> None:
    peak = max(memory.timeline, key=lambda event: event.live_bytes)
    height = peak.live_bytes / _MIB
    axes.plot(peak.index, height, marker="v", color="black", markersize=5, clip_on=False)
    right = peak.index > len(memory.timeline) / 2
    text = f"peak {bytes_(peak.live_bytes)} at {peak.operator}" + (f" of {peak.module}" if peak.module else "")
    axes.annotate(text, (peak.index, height), xytext=(-6 if right else 6, 5), textcoords="offset points",
                  ha="right" if right else "left", fontsize=8)  # fmt: skip
