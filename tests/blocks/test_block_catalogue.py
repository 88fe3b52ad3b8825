"""The catalogue: plain data, no torch, every target there and its options typed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any, get_type_hints

import pytest
import torch

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
        described = {"name", "kind", "target", "summary", "paper", "arxiv", "year", "size"}
        assert entry.keys() == described | {"family", "keeps_shape", "stride"}
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


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["kind"] == "block"], ids=lambda e: e["name"])
def test_block_keeps_what_it_says(entry: dict[str, Any]) -> None:
    module, _, attribute = entry["target"].partition(":")
    with torch.device("meta"), torch.no_grad():
        y = getattr(importlib.import_module(module), attribute)(64).eval()(torch.empty(2, 64, 32, 48))
    assert entry["keeps_shape"] == (y.shape == (2, 64, 32, 48))
    assert y.shape[2:] == (32 // entry["stride"], 48 // entry["stride"])


def test_public_names_are_there() -> None:
    for name in convblocks.__all__:
        assert getattr(convblocks, name).__name__ == name
    networks = {entry["name"] for entry in ENTRIES if entry["kind"] == "network"}
    for name in networks:
        assert getattr(convblocks, name).__name__ == name
    assert set(convblocks.__all__) | networks <= set(dir(convblocks))
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = convblocks.Nothing
