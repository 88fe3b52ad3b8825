"""The measures, one row each, and which of them to take. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from convbench.errors import UsageError, nearest
from convbench.reading import shown

DEFAULT_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured of a case, and where that is done. Places are written ``module:name``.

    run: ``(subject, settings)``, in a worker that holds the built case. Of a ``paired`` measure ``(cases, baseline,
        settings, tell, pool, …)``, in the command's process: it times all cases in the same rounds, by processes of
        its own.
    result, settings: the dataclasses of what it gives and of what may be chosen; neither imports torch where the
        command needs it.
    doing: what a progress line says meanwhile.
    needs_device_alone: whether nothing else may be measured on the device. works_on_meta: whether shapes alone do.
    usual: whether it is taken where no measure is named.
    helper: ``(case)``, a context manager of a process that ``run`` gets as a last argument, or None. It is entered
        early, so that the process comes up while the case is built.
    """

    name: str
    run: str
    result: str
    doing: str
    settings: str | None = None
    needs_device_alone: bool = False
    works_on_meta: bool = True
    usual: bool = True
    paired: bool = False
    helper: str | None = None


MEASURES: Mapping[str, Measure] = {
    row.name: row
    for row in (
        Measure(
            "params", "convbench.measures.params:run", "convbench.measures.params:Params", "counting its parameters"
        ),
        Measure(
            "cost",
            "convbench.measures.cost.measure:run",
            "convbench.measures.cost.result:Cost",
            "counting",
            settings="convbench.measures.cost.settings:CostSettings",
        ),
        Measure(
            "latency",
            "convbench.measures.latency.measure:run",
            "convbench.measures.latency.result:Latency",
            "timing",
            settings="convbench.measures.latency.settings:LatencySettings",
            needs_device_alone=True,
            works_on_meta=False,
            paired=True,
            helper="convbench.measures.latency.measure:start_workers",
        ),
        Measure(
            "memory",
            "convbench.measures.memory.measure:run",
            "convbench.measures.memory.result:Memory",
            "tracing memory",
            helper="convbench.measures.memory.high_water:checker",
        ),
        Measure(
            "erf",
            "convbench.measures.erf.measure:run",
            "convbench.measures.erf.result:Erf",
            "drawing its receptive field",
            settings="convbench.measures.erf.settings:ErfSettings",
            works_on_meta=False,
        ),
        Measure(
            "energy",
            "convbench.measures.energy:run",
            "convbench.measures.energy:Energy",
            "taking its energy",
            settings="convbench.measures.energy:EnergySettings",
            needs_device_alone=True,
            works_on_meta=False,
            usual=False,
        ),
        Measure(
            "cross-check",
            "convbench.measures.cost.crosscheck:run",
            "convbench.measures.cost.reconciliation:Reconciliation",
            "counting with other counters",
            usual=False,
        ),
    )
}
USUAL = tuple(name for name, row in MEASURES.items() if row.usual)


def find(place: str) -> Any:
    """What ``module:name`` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how. settings: by measure; each measure's own defaults where it has none.

    timeout_s: a measure of a case that gives no sign of life for so long is given up; None: never.
    """

    measures: tuple[str, ...] = USUAL
    settings: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = DEFAULT_TIMEOUT_S

    @property
    def needs_device_alone(self) -> bool:
        """Whether nothing else may be measured on the device."""
        return any(MEASURES[name].needs_device_alone for name in self.measures)

    def in_worker(self, *, alone: bool) -> tuple[str, ...]:
        """The measures that a worker takes of each case by itself; those that need the device alone, or the others."""
        return tuple(
            name for name in self.measures if not MEASURES[name].paired and MEASURES[name].needs_device_alone == alone
        )


def check_measures(names: Sequence[str] | None, device: str) -> tuple[str, ...]:
    """The measures to take: those named, or all the usual ones that ``device`` can do. Raises UsageError.

    A name may hold several, with commas.
    """
    computes = device != "meta"
    names = [name.strip() for listed in names or () for name in listed.split(",")]
    if not names:
        return tuple(name for name in USUAL if computes or MEASURES[name].works_on_meta)
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"measure {shown(name)} is not one of {', '.join(MEASURES)}.{nearest(name, MEASURES)}")
        if not (computes or MEASURES[name].works_on_meta):
            raise UsageError(
                f"measure {name!r} cannot be taken on {device}, where nothing is computed; use --device cpu"
            )
    return tuple(name for name in MEASURES if name in names)
