"""Every registered block deploys."""

from __future__ import annotations

import pytest

from convbench.case import Case
from convbench.registry import select
from convbench.verify import CHECKS, choose_checks
from convbench.verify.run import prepare, run_check

BLOCKS = {entry.name: entry.family for entry in select(kind="block")}
# tests/blocks exports and traces every block; the checks themselves are tried on one of each family.
ONE_OF_EACH = {family: name for name, family in reversed(BLOCKS.items())}.values()
REQUIRED = [check.name for check in CHECKS if check.required]
OPTIONAL = [check.name for check in CHECKS if not check.required and check.name != "compile"]


def failures(target: str, checks: list[str]) -> dict[str, str]:
    trial = prepare(Case(target))
    found = [run_check(trial, check) for check in choose_checks(checks)]
    return {result.check: f"{result.status}: {result.reason}" for result in found if result.status != "pass"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_passes_what_is_required(block: str) -> None:
    assert failures(block, REQUIRED) == {}


@pytest.mark.slow
@pytest.mark.parametrize("block", ONE_OF_EACH)
def test_a_block_passes_what_is_optional(block: str) -> None:
    assert failures(block, OPTIONAL) == {}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pyconvresnet18"])
def test_a_network_passes_what_is_required(network: str) -> None:
    assert failures(network, REQUIRED) == {}
