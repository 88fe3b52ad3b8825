"""The store: what was appended is there, whatever happened to the process that appended it."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench.errors import OutputError, UsageError
from convbench.records import Record
from convbench.report.io.load import load
from convbench.sweeps.store import Store, read_store

ENVIRONMENT = {"cpu": {"model": "x", "cores": 2}, "torch": "2"}


def fill(path: Path, keys: range | list[int], environment: dict[str, object] | None = ENVIRONMENT) -> None:
    with Store(path) as store:
        for number in keys:
            store.append(
                f"key{number}", Record("MRFA", params=number, error="ñ × µ"), {"n": number}, environment, 0.1234
            )


def test_a_store_knows_and_gives_what_was_appended_and_leaves_no_file_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with Store(tmp_path / "s.jsonl") as store:
        assert "key" not in store
        entry = store.append("key", Record("MRFA"), {}, None, 0.0)
        assert "key" in store
        assert store.contents.entries == {"key": entry}
        assert (tmp_path / "s.jsonl").stat().st_mode & 0o111 == 0
    if before:
        assert set(os.listdir("/proc/self/fd")) == before


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, range(3))
    found = read_store(path)
    assert list(found.entries) == ["key0", "key1", "key2"]
    entry = found.entries["key2"]
    assert (entry.record, entry.task, entry.wall_s) == (Record("MRFA", params=2, error="ñ × µ"), {"n": 2}, 0.123)
    assert found.environments == {entry.environment: ENVIRONMENT}
    assert not found.damage


def test_an_environment_is_written_once_and_another_one_again(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, [0, 1])
    fill(path, [2])
    fill(path, [3], {**ENVIRONMENT, "torch": "3"})
    fill(path, [4], None)
    found = read_store(path)
    assert len(path.read_text().splitlines()) == 5 + 2
    owners = [found.environments.get(entry.environment or "") for entry in found.entries.values()]
    assert owners == [ENVIRONMENT] * 3 + [{**ENVIRONMENT, "torch": "3"}, None]


def test_torn_at_any_byte_it_opens_with_all_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, range(3))
    whole = path.read_bytes()
    ends = [index for index, byte in enumerate(whole) if byte == ord("\n")]
    around_ends = {end + step for end in [0, *ends] for step in range(-2, 4)}
    for cut in sorted({*range(0, len(whole), 23), *around_ends} & set(range(len(whole) + 1))):
        path.write_bytes(whole[:cut])
        complete = sum(1 for end in ends[1:] if end <= cut)  # a line that lacks nothing but its end is whole
        assert len(read_store(path).entries) == complete, cut
        with Store(path) as store:
            assert len(store.contents.entries) == complete, cut
            store.append("new", Record("X"), {}, None, 0.0)
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert sum("key" in line for line in lines) == complete + 1, cut


def test_what_was_measured_again_counts_once_with_its_last_record(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, [0, 1])
    with Store(path) as store:
        store.append("key0", Record("MRFA", params=99), {}, None, 0.0)
    assert [entry.record.params for entry in read_store(path).entries.values()] == [99, 1]


def test_a_spoilt_line_in_the_middle_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, range(3))
    lines = path.read_bytes().splitlines()
    lines[2] = b"\x00" * len(lines[2])
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = read_store(path)
    assert (list(found.entries), list(found.unreadable)) == (["key0", "key2"], [3])
    assert [text.rpartition("/")[2] for text in found.damage] == ["s.jsonl, line 3: not JSON: Expecting value"]
    path.chmod(0o640)
    with Store(path) as store:
        assert "it is kept in s.jsonl.damaged, and its case counts as not measured" in store.contents.damage[0]
        store.append("key1", Record("MRFA"), {}, None, 0.0)
    found = read_store(path)
    assert (sorted(found.entries), found.damage) == (["key0", "key1", "key2"], ())
    assert (tmp_path / "s.jsonl.damaged").read_bytes() == lines[2] + b"\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(item.name for item in tmp_path.iterdir()) == [".s.jsonl.lock", "s.jsonl", "s.jsonl.damaged"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"key": "k", "record": {"target": "A", "params": "many"}}', "params must be a whole number, got 'many'"),
        ('{"key": "k", "record": {"target": "A", "options": 5}}', "options must be text, got 5"),
        ('{"key": "k", "record": {"params": 1}}', "it names no target"),
        ('{"key": 5, "record": {"target": "A"}}', "key: expected `str`, got `int`"),
        (
            '{"key": "k", "record": {"target": "A"}, "during": {"start": 1}}',
            "during: start: expected `object`, got `int`",
        ),
        ('{"key": "k", "record": {"target": "A"}, "wall_s": "long"}', "wall_s: expected `float | null`, got `str`"),
        ('{"environment": 5, "values": {}}', "environment: expected `str`, got `int`"),
        ('{"key": "k"', "not JSON"),
        ("[" * 100_000, "nested more than 40 levels deep"),
    ],
)
def test_a_damaged_line_is_told_with_its_field_and_the_rest_is_reported(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, [0])
    path.write_text(f"{path.read_text()}{line}\n")
    report = load(path)
    assert [record.params for record in report.records] == [0]
    (told,) = report.damage
    assert "s.jsonl, line 3" in told
    assert message in told


def test_a_store_of_a_later_version_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, [0])
    path.write_text(path.read_text() + '{"key": "k", "record": {"target": "A", "schema_version": 99}}\n')
    before = path.read_bytes()
    with pytest.raises(UsageError, match="line 3: schema 99 is newer than this version"), Store(path):
        pass
    with pytest.raises(UsageError, match="line 3: schema 99 is newer than this version"):
        load(path)
    assert path.read_bytes() == before


def test_links_to_one_store_share_one_lock_and_stay_links(tmp_path: Path) -> None:
    path, link = tmp_path / "s.jsonl", tmp_path / "elsewhere" / "link.jsonl"
    link.parent.mkdir()
    link.symlink_to(path)
    fill(path, [0])
    with Store(path), pytest.raises(OutputError, match="another sweep is writing to it"), Store(link):
        pass
    path.write_bytes(b"damaged\n" + path.read_bytes())
    fill(link, [1])
    assert link.is_symlink()
    assert sorted(read_store(path).entries) == ["key0", "key1"]


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_a_store_that_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.jsonl"
    {"pipe": os.mkfifo, "directory": os.mkdir, "device": lambda p: os.symlink("/dev/null", p)}[kind](path)
    with pytest.raises(UsageError, match=f"is a {kind}, not a file"), Store(path):
        pass


def test_texts_that_utf8_cannot_hold_and_numbers_that_are_none_are_kept_readable(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with Store(path) as store:
        store.append("k", Record("A", error="half \ud800", ratio=math.nan), {"n": "\udfff"}, None, 0.0)
    assert read_store(path).entries["k"].record == Record("A", error="half \\ud800")


@pytest.mark.parametrize(
    "content", [b"target,params\nMRFA,3\n", b"a note to myself", b'{"some": "json"}\n', b"[1, 2]\n", b'{"key": 3}\n']
)
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="something else than a sweep's records"), Store(path):
        pass
    assert path.read_bytes() == content


def test_columns_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"key": "k", "record": {"target": "A", "params": 1, "from_the_future": 2}, "task": {}}\n')
    assert read_store(path).entries["k"].record == Record("A", params=1)


def test_one_writer_at_a_time_across_processes(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom convbench.sweeps.store import Store\n"
        f"with Store(Path({str(path)!r})): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match="another sweep is writing to it"), Store(path):
            pass
        other.kill()  # a lock must not outlive its holder
    fill(path, [0])


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, [0])
    before = path.read_bytes()
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with Store(path) as store:
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OutputError, match="No space left on device"):
            store.append("key1", Record("MRFA"), {}, None, 0.0)
        monkeypatch.undo()
        assert path.read_bytes() == before
        store.append("key1", Record("MRFA"), {}, None, 0.0)
    assert list(read_store(path).entries) == ["key0", "key1"]


def test_places_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the directory .* does not exist"), Store(tmp_path / "none" / "s.jsonl"):
        pass
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_store(tmp_path / "none.jsonl")


def test_a_report_is_read_from_a_store_even_while_its_last_line_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, range(3))
    with path.open("ab") as torn:
        torn.write(b'{"key": "key3", "record"')
    report = load(path)
    assert [record.params for record in report.records] == [0, 1, 2]
    assert report.environment == ENVIRONMENT
    fill(path, [4], {**ENVIRONMENT, "torch": "3"})
    assert [[record.params for record in part.records] for part in load(path).parts] == [[0, 1, 2], [4]]


def test_a_report_of_something_else_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("no record\n")
    with pytest.raises(UsageError, match=r"s\.jsonl, line 1: not JSON: Expecting value"):
        load(path)
