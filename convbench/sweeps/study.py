"""A study: the grid of a sweep, from a TOML file, from flags, or from a mapping. Imports no torch.

Every key takes one value or a list of values, and the cases are all their combinations:

    targets = ["MRFA", "PyConv*", "timm:convnext_tiny"]   # all registered blocks unless given; wildcards allowed
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convbench.case import Case
from convbench.errors import UsageError, nearest
from convbench.inputs import read_inputs
from convbench.measures.table import check_measures
from convbench.reading import shown
from convbench.registry import HOSTS, entries, resolve, select
from convbench.sweeps.settings import KEYS, Given, Key, Settings
from convbench.sweeps.task import Task, make_task

DEFAULT_TIMEOUT_S = 1800.0
MAX_CASES = 100_000
_MOST_SECONDS = 1e7

_AXES = tuple(key for key in KEYS if key.field)


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
    """Every combination, targets varying slowest, each with the places of what it was made from."""
    axes = {key: settings[(key.name,)] for key in _AXES if key.name != "targets" and (key.name,) in settings}
    fields = {
        key.field: [_named(given.where, _field_value, key, value) for value in given.value]
        for key, given in axes.items()
    }
    latency = _latency(settings)
    strict = ("strict",) in settings and bool(settings[("strict",)].value)
    for target in _targets(settings):
        places = _places(settings, target)
        mine = {field: values for field, values in fields.items() if field != "dim" or not _is_network(target)}
        for options, values in itertools.product(_options(settings, target), itertools.product(*mine.values())):
            case = Case(target, options=options, **dict(zip(mine, values, strict=True)))
            measures = _measures(settings, case.device)
            yield _named(places.target, make_task, case, measures, strict, latency), places


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


def _field_value(key: Key, value: Any) -> Any:
    """The value as the case holds it. Raises UsageError."""
    field: Any = value
    if key.field == "shapes":
        field = read_inputs(value)
    elif key.field == "transforms":
        field = () if value in ("", "none") else tuple(value.split("+"))
    elif key.field in ("autocast", "weights") and value in ("", "none"):
        field = None
    Case("", **{key.field: field})
    return field


def _targets(settings: Settings) -> list[str]:
    """Registered names as they are registered, wildcards replaced by what they match; all blocks unless given."""
    given = settings.get(("targets",))
    if given is None:
        return [entry.name for entry in select(kind="block")]
    names: list[str] = []
    for text in given.value:
        if ":" in text:
            names.append(_named(given.where, resolve, text).text)
        else:
            names += [entry.name for entry in _named(given.where, select, [text])]
    return list(dict.fromkeys(names))


def _require_known_owners(grids: Sequence[Settings]) -> None:
    """Raise UsageError for a table of options of a target that no grid of the layer has."""
    targets = list(dict.fromkeys(name for grid in grids for name in _targets(grid)))
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
    named = _named(given.where, check_measures, given.value, "cpu")
    possible = tuple(name for name in named if name in check_measures(None, device))
    return possible or _named(given.where, check_measures, given.value, device)


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


def _named(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What ``function`` gives; its UsageError says where the value was given."""
    try:
        return function(*arguments)
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from error
