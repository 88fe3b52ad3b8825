"""A study: the grid of a sweep, from a TOML file, from flags, or from a mapping. Imports no torch.

Every key takes one value or a list of values, and the cases are all their combinations:

    targets = ["MRFA", "PyConv*", "ConvNeXt(kernel_size=31)", "timm:convnext_tiny"]  # all blocks unless given
    dims = [32, 64, 128]                                  # for blocks; a network has none and is measured once
    sizes = [14, 28, 56]
    measures = ["params", "cost", "latency"]

    [options]                     # for every target
    bias = [true, false]
    [options.PyConv]              # for one target; a value that is itself a list is put in a list
    kernels = [[3, 5], [3, 5, 7]]

    [[grid]]                      # more than one grid: each takes what stands above, and says what differs
    modes = ["training"]
    [[grid]]
    targets = "timm:resnet50"
    sizes = 224
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convbench.case import CONDITIONS, Case
from convbench.errors import UsageError, nearest, placed
from convbench.measures.table import check_measures
from convbench.reading import shown
from convbench.reference import read_reference, registered
from convbench.registry import HOSTS, entries, select
from convbench.sweeps.settings import Given, Settings
from convbench.sweeps.task import Task, make_task

DEFAULT_TIMEOUT_S = 1800.0
MAX_CASES = 100_000
_MOST_SECONDS = 1e7

_AXES = tuple(item for item in CONDITIONS.values() if item.plural and item.name != "target")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a task's target, device and options were given, for error messages.

    by_data: whether a file, which others may have written, names the target or any of its options.
    """

    target: str
    device: str
    options: Mapping[str, str]
    by_data: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """The tasks of a sweep, each once, in the order of the grid.

    places: of each task, by its key. timeout_s: seconds after which a case is given up, the most of any grid's.
    """

    tasks: tuple[Task, ...]
    places: Mapping[str, Places]
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def named_by_data(self) -> list[tuple[str, Case]]:
        """The cases that a file names, with the place of their target in it."""
        found = [(self.places[task.key], task.case) for task in self.tasks]
        return [(place.target, case) for place, case in found if place.by_data]


def make_study(*layers: Sequence[Settings]) -> Study:
    """The study that ``layers`` describe: each is a list of grids, and a later layer overrides an earlier one's keys.

    Raises UsageError naming the place, the value and the rule.
    """
    for grids in layers:
        _require_known_owners(grids)
    tasks: dict[str, Task] = {}
    places: dict[str, Places] = {}
    timeouts: list[float] = []
    for combination in itertools.product(*layers):
        settings = _merge(combination)
        _require_countable(settings)
        for task, place in _expand(settings):
            tasks.setdefault(task.key, task)
            places.setdefault(task.key, place)
        timeouts.append(_positive(settings, "timeout") or DEFAULT_TIMEOUT_S)
    return Study(tuple(tasks.values()), places, max(timeouts))


def _merge(grids: Sequence[Settings]) -> Settings:
    """One grid of several, later ones overriding; a shape overrides sizes and batches, and they a shape."""
    merged: dict[tuple[str, ...], Given] = {}
    for grid in grids:
        shapes = grid.get(("shapes",))
        for name in ("sizes", "batches"):
            other = grid.get((name,))
            if shapes is not None and other is not None:
                raise UsageError(f"{other.where}: a shape already says batch and size; drop this, or {shapes.where}")
            if shapes is not None:
                merged.pop((name,), None)
            elif other is not None:
                merged.pop(("shapes",), None)
        merged |= grid
    return merged


def _expand(settings: Settings) -> Iterator[tuple[Task, Places]]:
    """Every combination, targets varying slowest, each with the places of what it was made from.

    What a target says itself, as in ``MRFA@dim=96``, holds before the axes.
    """
    fields = {axis.name: settings[(axis.plural,)].value for axis in _AXES if (axis.plural,) in settings}
    latency = _latency(settings)
    strict = ("strict",) in settings and bool(settings[("strict",)].value)
    for target, said in _targets(settings):
        own = dict(said)
        chosen = own.pop("options", ())
        places = _places(settings, target)
        given_up = {"size", "batch"} if "shapes" in own else {"shapes"} if {"size", "batch"} & own.keys() else set()
        given_up |= {*own, *(["dim"] if _is_network(target) else [])}
        mine = {field: values for field, values in fields.items() if field not in given_up}
        for options, values in itertools.product(_options(settings, target), itertools.product(*mine.values())):
            merged = tuple({**dict(options), **dict(chosen)}.items())
            case = Case(target, options=merged, **{**own, **dict(zip(mine, values, strict=True))})
            measures = _measures(settings, case.device)
            yield placed(places.target, make_task, case, measures, strict, latency), places


def _require_countable(settings: Settings) -> None:
    """A few lines can ask for more cases than there is memory for. Raises UsageError."""
    cases = math.prod(len(given.value) for given in settings.values() if isinstance(given.value, list | tuple))
    if cases > MAX_CASES:
        given = max(settings.values(), key=lambda given: len(given.value) if isinstance(given.value, list) else 0)
        raise UsageError(f"{given.where}: the grid has {cases} combinations: at most {MAX_CASES} are taken")


def _places(settings: Settings, target: str) -> Places:
    def of(name: str) -> str:
        return settings[(name,)].where if (name,) in settings else name

    own = _own(settings, target)
    given = [*own.values(), *([settings[("targets",)]] if ("targets",) in settings else [])]
    by_data = any(item.by_data for item in given)
    return Places(of("targets"), of("devices"), {name: item.where for name, item in own.items()}, by_data)


def _targets(settings: Settings) -> list[tuple[str, Mapping[str, Any]]]:
    """Registered names as they are registered, wildcards replaced by what they match; all blocks unless given.

    Each comes with what it says beside: fields of a case.
    """
    given = settings.get(("targets",))
    if given is None:
        return [(entry.name, {}) for entry in select(kind="block")]
    read = [placed(given.where, read_reference, text) for text in given.value]
    found = [(name, own) for target, own in read for name in placed(given.where, registered, target)]
    return [item for index, item in enumerate(found) if item not in found[:index]]


def _require_known_owners(grids: Sequence[Settings]) -> None:
    """Raise UsageError for a table of options of a target that no grid of the layer has."""
    targets = list(dict.fromkeys(name for grid in grids for name, _ in _targets(grid)))
    for path, given in ((path, given) for grid in grids for path, given in grid.items()):
        if len(path) == 3 and path[1].lower() not in map(str.lower, targets):
            raise UsageError(
                f"{given.where}: options of {shown(path[1])}, which is not among the targets."
                f"{nearest(path[1], targets)} They are: {', '.join(targets[:20])}"
            )


def _own(settings: Settings, target: str) -> dict[str, Given]:
    """The target's options; its own table overrides what stands for every target."""
    found: dict[str, Given] = {}
    for path, given in settings.items():
        if path[0] == "options" and len(path) == 2:
            found.setdefault(path[1], given)
        elif path[0] == "options" and path[1].lower() == target.lower():
            found[path[2]] = given
    return found


def _options(settings: Settings, target: str) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Every combination of the target's options."""
    own = _own(settings, target)
    for combination in itertools.product(*(given.value for given in own.values())):
        yield tuple(zip(own, combination, strict=True))


def _measures(settings: Settings, device: str) -> tuple[str, ...]:
    """What is measured on ``device``: of what was named, whatever can be taken there."""
    given = settings.get(("measures",))
    if given is None:
        return check_measures(None, device)
    asked = placed(given.where, check_measures, given.value, "cpu")
    possible = tuple(name for name in asked if name in check_measures(None, device))
    return possible or placed(given.where, check_measures, given.value, device)


def _latency(settings: Settings) -> tuple[tuple[str, Any], ...]:
    """Fields of `LatencySettings` that were given."""
    fields: dict[str, Any] = {}
    if (processes := _positive(settings, "processes")) is not None:
        fields["processes"] = int(processes)
    if ("rigorous",) in settings and settings[("rigorous",)].value:
        fields["rigorous"] = True
    if (limit := _positive(settings, "max_time")) is not None:
        fields["max_time_s"] = limit
    metric = settings.get(("metric",))
    if metric is not None:
        if metric.value not in ("time", "instructions"):
            raise UsageError(f"{metric.where}: must be time or instructions, got {shown(metric.value)}")
        fields["metric"] = metric.value
    if ("force_threads",) in settings and settings[("force_threads",)].value:
        fields["force_threads"] = True
    return tuple(fields.items())


def _positive(settings: Settings, name: str) -> float | None:
    given = settings.get((name,))
    if given is None:
        return None
    if not 0 < given.value <= _MOST_SECONDS:  # nan is not either
        raise UsageError(
            f"{given.where}: must be more than zero and at most {_MOST_SECONDS:g}, got {shown(given.value)}"
        )
    return float(given.value)


def _is_network(target: str) -> bool:
    entry = entries().get(target.lower())
    return entry.kind == "network" if entry is not None else target.partition(":")[0] in HOSTS
