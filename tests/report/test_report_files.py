"""Data files: raw numbers, every column, whole or not at all; read back exactly."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convbench.errors import MissingExtraError, OutputError, UsageError
from convbench.records import COLUMNS, Record
from convbench.report.io.document import Report
from convbench.report.io.formats import TABLES, check_outputs, write, write_outputs
from convbench.report.io.load import load
from tests.report.made_up_records import ENVIRONMENT, record
from tests.report.strategies import RECORDS

_PROPERTY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
@_PROPERTY
@given(records=st.lists(RECORDS, max_size=3))
def test_what_is_written_is_read_back_exactly(tmp_path: Path, suffix: str, records: list[Record]) -> None:
    path = tmp_path / f"records{suffix}"
    write(path, Report(records))
    assert load(path).records == records


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
@_PROPERTY
@given(records=st.lists(RECORDS, min_size=1, max_size=3))
def test_writing_what_was_read_gives_the_same_file(tmp_path: Path, suffix: str, records: list[Record]) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write(first, Report(records))
    write(second, load(first))
    assert first.read_bytes() == second.read_bytes()


def test_a_csv_file_starts_with_the_columns_in_their_fixed_order(tmp_path: Path) -> None:
    write(tmp_path / "records.csv", Report([record()]))
    lines = (tmp_path / "records.csv").read_text().splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    assert len(lines) == 2


def test_csv_numbers_are_raw_and_what_was_not_measured_is_empty(tmp_path: Path) -> None:
    made = record("MRFA", 64, 56)
    write(tmp_path / "records.csv", Report([made]))
    row = next(csv.DictReader((tmp_path / "records.csv").open(newline="")))
    assert row["macs"] == str(made.macs) == "40140800"
    assert float(row["latency_ms"]) == made.latency_ms
    assert row["buffers"] == "0"
    assert row["ratio"] == row["verdict"] == row["error"] == row["saved_for_backward_bytes"] == ""


def test_booleans_of_a_break_down_are_true_and_false(tmp_path: Path) -> None:
    rows = [{"name": "conv", "counted": True, "share": 0.5}, {"name": "fft", "counted": False, "macs": 3}]
    written = write(tmp_path / "records.csv", Report([record()], sections={"operators": rows}))
    assert written == [tmp_path / "records.csv", tmp_path / "records.operators.csv"]
    assert written[1].read_text() == "name,counted,share,macs\nconv,true,0.5,\nfft,false,,3\n"


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet", ".md", ".tex"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_empty_in_every_format(tmp_path: Path, suffix: str, value: float) -> None:
    path = tmp_path / f"records{suffix}"
    write(path, Report([record(arithmetic_intensity=value)]))
    if suffix in (".md", ".tex"):
        assert "nan" not in path.read_text()
        assert "inf" not in path.read_text().replace("inference", "")
    else:
        assert load(path).records == [record(arithmetic_intensity=None)]


def test_json_is_one_object_with_the_environment_and_the_records(tmp_path: Path) -> None:
    rows = [{"name": "conv", "macs": 3}]
    report = Report([record()], ENVIRONMENT, {"operators": rows}, "convbench profile MRFA")
    write(tmp_path / "records.json", report)
    content = json.loads((tmp_path / "records.json").read_text(), parse_constant=pytest.fail)
    assert content["environment"] == ENVIRONMENT
    assert list(content["records"][0]) == list(COLUMNS)
    assert content["operators"] == rows
    read = load(tmp_path / "records.json")
    assert (read.environment, read.sections, read.command) == (ENVIRONMENT, {"operators": rows}, report.command)


def test_parquet_has_types_and_carries_environment_and_command(tmp_path: Path) -> None:
    write(tmp_path / "records.parquet", Report([record()], ENVIRONMENT, {}, "convbench profile MRFA"))
    schema = pq.read_schema(tmp_path / "records.parquet")
    assert schema.names == list(COLUMNS)
    types = {name: str(schema.field(name).type) for name in ("target", "macs", "latency_ms", "ratio", "threads")}
    assert types == {"target": "string", "macs": "int64", "latency_ms": "double", "ratio": "double", "threads": "int64"}
    read = load(tmp_path / "records.parquet")
    assert (read.environment, read.command) == (ENVIRONMENT, "convbench profile MRFA")


def test_parquet_keeps_break_downs_beside_it(tmp_path: Path) -> None:
    written = write(tmp_path / "a.parquet", Report([record()], sections={"modules": [{"path": "conv", "macs": 7}]}))
    assert pq.read_table(written[1]).to_pylist() == [{"path": "conv", "macs": 7}]


@pytest.mark.parametrize("suffix", TABLES)
def test_every_format_writes_an_empty_report(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    assert write(path, Report([])) == [path]
    assert path.exists()


@pytest.mark.parametrize("suffix", TABLES)
def test_every_format_writes_a_record_that_knows_its_target_only(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bare{suffix}"
    write(path, Report([Record("MRFA", status="error", error="build: no")]))
    assert b"MRFA" in path.read_bytes()


def test_half_a_character_in_an_error_does_not_lose_the_file(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    write(path, Report([record(error="cannot open \udce9.png")]))
    assert load(path).records[0].error == "cannot open \\udce9.png"


@pytest.mark.parametrize("suffix", TABLES)
def test_every_format_writes_a_table_that_holds_no_records(tmp_path: Path, suffix: str) -> None:
    rows = [{"check": "forward", "before": 3, "values": [1]}, {"check": "copies", "before": "none", "late": 2**70}]
    path = tmp_path / f"checks{suffix}"
    assert write(path, Report((), ENVIRONMENT, {"checks": rows}, "convbench verify MRFA")) == [path]
    content = path.read_bytes()
    assert b"copies" in content
    assert (b"values" in content) == (suffix == ".json")  # a flat table has no place for what is nested


def test_a_table_that_holds_no_records_is_read_back_from_json(tmp_path: Path) -> None:
    report = Report((), ENVIRONMENT, {"checks": [{"check": "forward", "before": 3}]}, "convbench verify MRFA")
    write(tmp_path / "checks.json", report)
    assert dataclasses.replace(load(tmp_path / "checks.json"), records=(), origin="") == report


def test_one_output_that_fails_leaves_the_others(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    outputs = check_outputs([gone / "first.csv", tmp_path / "second.csv", tmp_path / "third.json"])
    gone.rmdir()
    first, *others = write_outputs(outputs, Report([record()]))
    assert first.failure is not None
    assert "gone does not exist any more" in first.failure
    assert [(output.failure, output.path.exists()) for output in others] == [(None, True)] * 2


def test_an_output_is_where_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = check_outputs([Path("records.csv")])
    monkeypatch.chdir("/")
    write_outputs(outputs, Report([record()]))
    assert (tmp_path / "records.csv").exists()


def test_writing_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("old")
    write(path, Report([record()]))
    assert load(path).records == [record()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("records.xlsx", r"no format has the suffix '.xlsx'.*Accepted: .csv, .json"),
        ("records.jsno", r"Did you mean '.json'\?"),
        ("records", r"no format has the suffix ''"),
        ("missing/records.csv", r"the directory .*missing does not exist"),
        ("folder.csv", r"folder.csv is a directory"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_beforehand(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match=message):
        check_outputs([tmp_path / name])


def test_writing_to_an_unknown_format_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no format has the suffix '.xlsx'"):
        write(tmp_path / "records.xlsx", Report([record()]))


def test_suffixes_may_be_written_in_capitals(tmp_path: Path) -> None:
    check_outputs([tmp_path / "RECORDS.CSV"])
    write(tmp_path / "RECORDS.CSV", Report([record()]))
    assert load(tmp_path / "RECORDS.CSV").records == [record()]


@pytest.mark.parametrize(("suffix", "package"), [(".html", "jinja2"), (".parquet", "pyarrow")])
def test_a_missing_package_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    real: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(MissingExtraError, match=rf"needs {package}.*pip install 'convbench\[{suffix[1:]}\]'"):
        check_outputs([tmp_path / f"page{suffix}"])


def test_a_record_of_an_older_schema_fills_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("macs,target,gone\n12,MRFA,x\n")
    assert load(path).records == [Record("MRFA", macs=12)]


def test_a_table_that_went_through_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbftarget,macs,latency_ms\r\nMRFA,70296576.0,1e0\r\n")
    assert load(path).records == [Record("MRFA", macs=70296576, latency_ms=1.0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "name,macs\nMRFA,1\n", r"a.csv: no column 'target'"),
        ("a.csv", "", r"a.csv: no column 'target'"),
        ("a.csv", "target,macs\nMRFA,many\n", r"a.csv, line 2: macs must be a whole number, got 'many'"),
        ("a.csv", "target,macs\nMRFA,1.5\n", r"line 2: macs must be a whole number, got '1.5'"),
        ("a.csv", "target,latency_ms\nMRFA,fast\n", r"line 2: latency_ms must be a number, got 'fast'"),
        ("a.csv", "target,macs\nMRFA,1,2\n", r"line 2: not as many cells"),
        ("a.csv", "target,macs\nMRFA\n", r"line 2: not as many cells"),
        ("a.csv", "target,macs\n,1\n", r"line 2: target is empty"),
        ("a.csv", b"target\n\xff\n", r"a.csv is not UTF-8 text"),
        ("a.json", '{"records": [', r"a.json, line 1: not JSON"),
        ("a.json", "[1]", r'one object with "environment" and "records"'),
        ("a.json", '{"fields": []}', r"receptive fields are read from their .npz file"),
        ("a.json", '{"records": [{"target": "MRFA", "macs": "1"}]}', r"record 1: macs must be a whole number, got '1'"),
        ("a.json", '{"records": [{"target": 3}]}', r"record 1: target must be text, got 3"),
        ("a.json", '{"records": [{"target": "M", "macs": true}]}', r"record 1: macs must be a whole number, got True"),
        ("a.json", '{"records": [], "environment": 3}', r"a.json: environment: expected `object \| null`, got `int`"),
        ("a.json", '{"records": [{"target": "M", "target": "N"}]}', "the key 'target' stands twice in one object"),
        ("a.json", '{"records": [{"target": "M", "latency_ms": NaN}]}', "NaN is no number"),
        ("a.json", '{"records": [{"target": "M", "macs": -1}]}', "macs must be a whole number of at least 0, got -1"),
        (
            "a.json",
            '{"records": [{"target": "M", "threads": 0}]}',
            "threads must be a whole number of at least 1, got 0",
        ),
        ("a.json", f'{{"records": [{{"target": "M", "macs": {2**63}}}]}}', "record 1: macs must be a whole number"),
        ("a.json", f'{{"records": [{{"target": "M", "macs": 1{"0" * 5000}}}]}}', "a.json: not JSON"),
        ("a.json", '{"records": [{"target": "M", "flops": 1e999}]}', "record 1: flops must be a whole number"),
        ("a.json", '{"records": [{"target": "M", "ratio": 1e999}]}', "record 1: ratio must be a number of at least 0"),
        ("a.json", '{"records": [{"target": "M", "status": "fine"}]}', "record 1: status 'fine' is not one of ok, oom"),
        (
            "a.json",
            '{"records": [{"target": "M", "schema_version": 99}]}',
            "record 1: schema 99 is newer than this version",
        ),
        ("a.json", '{"records": [{"macs": 3}, {"target": "M"}]}', "record 1: it names no target"),
        ("a.json", '{"records": [3, {"target": "M"}]}', "record 1: not as many cells"),
        ("a.json", '{"records": ' + "[" * 9000 + "]" * 9000 + "}", "a.json: nested more than 40 levels deep"),
        ("a.json", '{"records": [], "x": ' + "[" * 60 + "]" * 60 + "}", "a.json: nested more than 40 levels deep"),
        ("a.json", '{"records": [], "../x": [{"a": 1}]}', r"a break-down is called by letters.*not '../x'"),
        ("a.json", '{"records": [], "x": [{"a": 1}, {"a": "b"}]}', "x, row 2: a is text, and a number in a row above"),
        ("a.json", '{"records": [], "x": [{"a": [1]}]}', r"a.json, x: \[0\]\[...\]: expected"),
        ("a.json", '{"records": [], "environments": [{}], "commands": ["", ""]}', '"commands" must give one command'),
        (
            "a.json",
            '{"records": [], "environment": {"calibrations": [{"device": "cpu", "threads": 1, "flops_per_s": {}}]}}',
            r"environment: calibrations\[0\]: object missing required field `bytes_per_s`",
        ),
        ("a.json", "\ufeff[".encode("utf-16"), "a.json is UTF-16 text: save it as UTF-8"),
        ("a.csv", "target,threads\nM,0\n", "line 2: threads must be a whole number of at least 1, got '0'"),
        ("a.csv", "target,latency_ms\nM,nan\n", "line 2: latency_ms must be a number of at least 0, got 'nan'"),
        ("a.csv", "target,schema_version\nM,99\n", "line 2: schema 99 is newer than this version of convbench knows"),
        ("a.csv", "target,target\nM,N\n", "a.csv: the column 'target' stands twice"),
        ("a.csv", "target\n" + "x" * 200_000, "not CSV: field larger than field limit"),
        (
            "a.json",
            '{"records": [{"target": "M"}], "environments": [{}], "environment_of": [1]}',
            r'"environment_of" must give',
        ),
        ("a.parquet", "no", r"a.parquet: not Parquet"),
        ("a.npz", "no", r"a.npz holds no receptive fields"),
        ("a.html", "", r"a.html: saved records are read from .csv, .json, .parquet, .jsonl, .npz, not from '.html'"),
        ("none.csv", None, r"none.csv cannot be read: No such file"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path / name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet", ".npz"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, suffix: str) -> None:
    pipe, folder, device = (tmp_path / f"{name}{suffix}" for name in ("pipe", "folder", "device"))
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path, what in ((pipe, "pipe"), (folder, "directory"), (device, "device")):
        with pytest.raises(UsageError, match=f"is a {what}, not a file"):
            load(path)


FIELD = {"target": "M", "offset_y_px": 0, "offset_x_px": 0, "radial_distance_px": [0.5], "radial_share": [1.0]}


@pytest.mark.parametrize(
    ("fields", "map_", "message"),
    [
        ([FIELD], np.array([{}]), "not the array that it says it is"),
        ([FIELD], np.zeros((2, 2)), r"fields\[0\]: its map must be rows and columns of finite numbers"),
        ([FIELD], np.full((2, 2), np.nan), "finite numbers"),
        ([FIELD], np.ones(4), "rows and columns"),
        ([{**FIELD, "target": 3}], np.ones((2, 2)), r"fields\[0\]: target: expected `str`, got `int`"),
        ([{**FIELD, "radial_share": []}], np.ones((2, 2)), "as many radial_share as"),
        (
            [{**FIELD, "receptive_field_height_px": -1}],
            np.ones((2, 2)),
            "receptive_field_height_px: expected `int` >= 1",
        ),
        ([{**FIELD, "sigma_px": 1e999}], np.ones((2, 2)), "not JSON: Infinity is no number"),
        ([FIELD, FIELD], np.ones((2, 2)), "map_1.npy"),
        (3, np.ones((2, 2)), "fields: expected `array`, got `int`"),
    ],
)
def test_receptive_fields_that_cannot_be_are_named(tmp_path: Path, fields: Any, map_: Any, message: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, description=json.dumps({"fields": fields}), map_0=map_)
    with pytest.raises(UsageError, match=message):
        load(path)


def test_an_array_whose_header_asks_for_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)})
    path = tmp_path / "a.npz"
    np.savez(path, description=json.dumps({"fields": [FIELD]}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("map_0.npy", header.getvalue())
    with pytest.raises(UsageError, match="map_0 is not the array that it says it is"):
        load(path)


def test_every_column_has_a_description_for_readers() -> None:
    from convbench.records import DESCRIPTIONS, column_types

    assert tuple(DESCRIPTIONS) == COLUMNS
    assert set(column_types().values()) == {str, int, float}
    assert [field.name for field in dataclasses.fields(Record)] == list(column_types())
    for name, column in DESCRIPTIONS.items():
        assert column.convention, name
        assert ("ms" in column.unit) == name.endswith("_ms"), name
        assert (column.unit == "B") == (name.endswith("_bytes") or name == "bytes_moved"), name
