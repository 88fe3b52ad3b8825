"""The catalogue: plain data, no torch, every target there and its options typed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest

import convblocks
from convblocks.catalogue import ENTRIES


def test_reading_the_catalogue_imports_no_torch() -> None:
    code = "import sys, convblocks.catalogue as c; assert c.ENTRIES; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_unique_whatever_their_case() -> None:
    names = [entry["name"].lower() for entry in ENTRIES]
    assert len(set(names)) == len(names)


def test_every_entry_has_the_fields_of_an_entry() -> None:
    for entry in ENTRIES:
        assert entry.keys() == {"name", "kind", "target", "summary", "paper", "arxiv", "year", "size"}
        assert entry["kind"] in ("block", "network")
        assert isinstance(entry["year"], int)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_target_is_a_factory_with_typed_options(entry: dict[str, str]) -> None:
    module, _, attribute = entry["target"].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    parameters = list(inspect.signature(factory).parameters.values())
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    first = {"block": ["dim"], "network": ["num_classes", "in_chans"]}[entry["kind"]]
    assert [parameter.name for parameter in parameters[: len(first)]] == first
    for parameter in parameters:
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameter.name in hints
    if entry["kind"] == "block":
        assert parameters[0].default is inspect.Parameter.empty
        parameters = parameters[1:]
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters)


def test_public_names_are_there() -> None:
    for name in convblocks.__all__:
        assert getattr(convblocks, name).__name__ == name
    networks = {entry["name"] for entry in ENTRIES if entry["kind"] == "network"}
    for name in networks:
        assert getattr(convblocks, name).__name__ == name
    assert set(convblocks.__all__) | networks <= set(dir(convblocks))
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = convblocks.Nothing
