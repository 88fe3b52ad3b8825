"""Reports of several files: one machine is one, several are kept apart, also through files."""

from __future__ import annotations

from pathlib import Path

import pytest

from convbench.report.environments import flatten, same_environment
from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.report.io.load import join, load
from tests.report.made_up_records import ENVIRONMENT, record

OTHER = {**ENVIRONMENT, "machine": {"cpu": "Test CPU 2", "logical_cores": 64}}


def test_files_of_one_machine_become_one_report() -> None:
    first = Report([record("MRFA")], ENVIRONMENT, command="convbench sweep a", origin="a.json")
    second = Report(
        [record("PyConv")], {**ENVIRONMENT, "start": {"load_1m": 7.0}}, command="convbench sweep b", origin="b.json"
    )
    joined = join([first, second])
    assert [item.target for item in joined.records] == ["MRFA", "PyConv"]
    assert joined.sources == ()
    assert joined.environment == ENVIRONMENT
    assert joined.command.splitlines() == ["convbench sweep a", "convbench sweep b"]


def test_files_of_different_machines_are_kept_apart() -> None:
    joined = join([Report([record("MRFA")], ENVIRONMENT), Report([record("MRFA")], OTHER)])
    assert joined.environment == {}
    assert [part.environment for part in joined.sources] == [ENVIRONMENT, OTHER]


def test_an_unknown_environment_is_like_no_other() -> None:
    joined = join([Report([record()]), Report([record()]), Report([record()], ENVIRONMENT)])
    assert len(joined.sources) == 3


def test_break_downs_of_a_single_report_stay() -> None:
    report = Report([record()], ENVIRONMENT, {"operators": [{"name": "conv"}]}, origin="a.json")
    assert join([report]).sections == report.sections


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_environments_stay_apart_through_a_file(tmp_path: Path, suffix: str) -> None:
    parts = [
        Report([record("MRFA"), record("PyConv")], ENVIRONMENT, command="convbench sweep a"),
        Report([record("MRFA")], OTHER, command="convbench sweep b"),
    ]
    path = tmp_path / f"joined{suffix}"
    write(path, join(parts))
    read = join([load(path)])
    assert [(part.environment, part.command, list(part.records)) for part in read.sources] == [
        (part.environment, part.command, list(part.records)) for part in parts
    ]
    assert join([load(path), parts[0]]).sources[0].records == [*parts[0].records, *parts[0].records]


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"start": {"utc": "2027-01-01T00:00:00Z"}}, True),
        ({"end": {"load_1m": 9.0}}, True),
        ({"convbench": {"git_commit": "abc"}}, True),
        ({"calibrations": [{"device": "cpu"}]}, True),
        ({"execution": {"threads": 2, "allocator": {}, "deterministic": False}}, True),
        ({"execution": {"threads": 1, "allocator": {"LD_PRELOAD": "x.so"}, "deterministic": False}}, False),
        ({"python": "CPython 3.13"}, False),
        ({"torch": {"version": "2.15.0", "capability": "AVX2"}}, False),
        ({"machine": {**ENVIRONMENT["machine"], "governor": "powersave"}}, False),
    ],
)
def test_only_what_changes_from_run_to_run_may_differ(changed: dict[str, object], same: bool) -> None:
    assert same_environment(ENVIRONMENT, {**ENVIRONMENT, **changed}) is same


def test_an_environment_reads_as_dotted_names() -> None:
    nested = {"cpu": {"model": "X", "flags": ["a", "b"]}, "empty": None, "smt": False, "cards": [{"name": "Y"}]}
    assert dict(flatten(nested)) == {"cpu.model": "X", "cpu.flags": "a, b", "smt": "no", "cards.1.name": "Y"}
