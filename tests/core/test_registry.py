"""References, names and plug-ins."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from convbench import registry
from convbench.errors import UnknownNameError, UsageError
from convbench.registry import Entry, entries, register, resolve, select


@pytest.fixture
def clean_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_runtime", {})


@pytest.mark.parametrize(
    ("text", "scheme", "location", "attribute"),
    [
        ("MRFA", "registered", "MRFA", ""),
        ("mrfa", "registered", "MRFA", ""),
        ("timm:resnet18", "timm", "resnet18", ""),
        ("torchvision:resnet18", "torchvision", "resnet18", ""),
        ("dir/my_blocks.py:MyBlock", "file", "dir/my_blocks.py", "MyBlock"),
        ("my.pkg:Block", "module", "my.pkg", "Block"),
    ],
)
def test_a_reference_says_where_its_factory_is(text: str, scheme: str, location: str, attribute: str) -> None:
    reference = resolve(text)
    assert (reference.scheme, reference.location, reference.attribute) == (scheme, location, attribute)


@pytest.mark.parametrize("text", ["file.py:", ":Class", "timm:"])
def test_half_a_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no reference"):
        resolve(text)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'PyConvv'\. Did you mean 'PyConv'\?"):
        resolve("PyConvv")


def test_wildcards_select_by_name_and_kind() -> None:
    assert [entry.name for entry in select(["pyconvb*e*"], "block")] == ["PyConvBottleneck", "PyConvBNReLU"]
    assert {entry.kind for entry in select(kind="block")} == {"block"}


def test_a_pattern_without_a_match_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="nothing is registered"):
        select(["Conv3x3", "zzz*"])


@pytest.mark.usefixtures("clean_runtime")
def test_a_runtime_entry_is_found_and_cannot_take_a_taken_name() -> None:
    register("Mine", lambda dim: dim, summary="mine")
    assert resolve("mine").name == "Mine"
    with pytest.raises(UsageError, match=r"'MINE' is already registered by convbench\.register"):
        register("MINE", "a:b")
    with pytest.raises(UsageError, match=r"already registered by convbench \(convblocks"):
        register("mrfa", "a:b")


def _plugins(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    registry._plugins.cache_clear()
    monkeypatch.setattr(registry, "entry_points", lambda group: list(points))


def test_two_plugins_with_one_name_are_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    first = EntryPoint("first", "convblocks.catalogue:ENTRIES", registry.GROUP)
    second = EntryPoint("second", "convblocks:catalogue.ENTRIES", registry.GROUP)
    _plugins(monkeypatch, first, second)
    try:
        with pytest.raises(UsageError, match=r"convblocks\.catalogue:ENTRIES.* and .*convblocks:catalogue"):
            entries()
    finally:
        registry._plugins.cache_clear()


def test_a_broken_plugin_is_a_warning_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_package_anywhere:ENTRIES", registry.GROUP)
    sound = EntryPoint("sound", "convblocks.catalogue:ENTRIES", registry.GROUP)
    _plugins(monkeypatch, broken, sound)
    try:
        with pytest.warns(UserWarning, match="no_such_package_anywhere"):
            assert "mrfa" in entries()
    finally:
        registry._plugins.cache_clear()


def test_an_entry_checks_its_fields() -> None:
    with pytest.raises(UsageError, match="kind must be"):
        Entry("X", "layer", "a:b")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="module:attribute"):
        Entry("X", "block", "a.b")


def test_listing_imports_no_torch() -> None:
    code = "import sys, convbench.registry as r; r.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_family_is_read_without_case_and_hyphens() -> None:
    names = {entry.name for entry in registry.of_family(registry.select(), "Large kernel")}
    assert {"MRFA", "LKA", "WTConv"} <= names
    assert not {"SE", "CondConv", "uniconvnet_a"} & names
    with pytest.raises(UsageError, match="attention"):
        registry.of_family(registry.select(), "atention")
