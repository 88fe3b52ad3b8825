"""Awkward modules are measured, by every measure, and are bit for bit what they were; also where the call raises."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from convbench.case import Case
from convbench.errors import ConvbenchError
from convbench.execution.guard import isolated
from convbench.measures.cost import measure_cost
from convbench.measures.erf import ErfSettings, measure_erf
from convbench.measures.latency.timing.calls import make_call
from convbench.measures.memory import measure_memory
from convbench.measures.params import measure_params
from convbench.target.blueprint import Subject, instance_blueprint
from tests.execution.awkward import MAKERS
from tests.execution.likeness import likeness, surroundings

SHAPE = (1, 4, 6, 6)
REFUSED: dict[str, dict[str, str]] = {
    "raises_at_its_end": dict.fromkeys(("cost", "memory", "erf", "latency"), "no such thing"),
    "raises_in_backward": dict.fromkeys(("cost", "memory", "erf", "latency"), "no way back"),
}
"""What cannot be measured, by the measures that cannot, and what is said of it."""


def subject(module: nn.Module) -> Subject:
    return instance_blueprint(module, Case(type(module).__name__, shapes=(SHAPE,), mode="training")).subject()


def params(module: nn.Module) -> object:
    return measure_params(subject(module).module)


def cost(module: nn.Module) -> object:
    return measure_cost(module, (torch.zeros(SHAPE, dtype=_dtype(module)),), training=True)


def memory(module: nn.Module) -> object:
    return measure_memory(subject(module), high_water=False)


def erf(module: nn.Module) -> object:
    return measure_erf(module, SHAPE, ErfSettings(samples=3, seeds=1, bootstrap=0))


def latency(module: nn.Module) -> object:
    """The call that a timing process makes, made once."""
    with isolated(fast_attention=True):
        call, guard = make_call(subject(module))
        with guard():
            return call()


MEASURES: dict[str, Callable[[nn.Module], object]] = {
    "params": params, "cost": cost, "memory": memory, "erf": erf, "latency": latency,
}  # fmt: skip


def _dtype(module: nn.Module) -> torch.dtype:
    dtype = next(module.parameters()).dtype
    return dtype if dtype.is_floating_point else torch.float32


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, str]]]:
    """What became of each module under each measure; printed with -s."""
    rows: dict[str, dict[str, str]] = {}
    yield rows
    print(f"\n{'module':40}" + "".join(f"{name:10}" for name in MEASURES))
    for name, row in rows.items():
        print(f"{name:40}" + "".join(f"{row.get(measure, ''):10}" for measure in MEASURES))


@pytest.mark.parametrize("name", MAKERS)
def test_a_module_is_what_it_was(name: str, table: dict[str, dict[str, str]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        module = MAKERS[name]().train()
        row = table.setdefault(name, {})
        for measure, run in MEASURES.items():
            before, around = likeness(module), surroundings()
            refused = REFUSED.get(name, {}).get(measure)
            said = _attempt(run, module)
            assert (said is None) == (refused is None), f"{measure}: {said}"
            assert refused is None or (said is not None and refused in said)
            assert likeness(module) == before, f"{measure} changed the module"
            now = surroundings()
            assert [key for key in around if now[key] != around[key]] == [], f"{measure} changed something around it"
            row[measure] = "unchanged" if refused is None else "refused"


def _attempt(run: Callable[[nn.Module], Any], module: nn.Module) -> str | None:
    try:
        run(module)
    except Exception as error:  # the target's own
        return f"{type(error).__name__}: {error}"
    return None


def test_there_are_enough_of_them() -> None:
    assert len(MAKERS) >= 60


def test_a_running_generator_is_not_used_up() -> None:
    """Of a generator there is no copy: a module that takes from one is refused, and what it would take stays."""
    module = nn.Sequential(nn.Conv2d(4, 4, 1))
    module.noise = (number for number in range(9))  # type: ignore[assignment]
    module.register_forward_hook(lambda self, args, out: out * next(self.noise))
    with pytest.raises(ConvbenchError, match="running generator"):
        measure_cost(module, (torch.zeros(SHAPE),))
    assert next(module.noise) == 0  # type: ignore[call-overload]
