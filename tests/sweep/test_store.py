"""The store: what was appended is there, whatever happened to the process that appended it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convbench.errors import OutputError, UsageError
from convbench.records import Record
from convbench.report.io.load import load
from convbench.sweep.store import Store, read_store

ENVIRONMENT = {"cpu": {"model": "x", "cores": 2}, "torch": "2"}


def fill(path: Path, keys: range | list[int], environment: dict[str, object] | None = ENVIRONMENT) -> None:
    with Store(path) as store:
        for number in keys:
            store.append(
                f"key{number}", Record("MRFA", params=number, error="ñ × µ"), {"n": number}, environment, 0.1234
            )


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    fill(path, range(3))
    found = read_store(path)
    assert list(found.entries) == ["key0", "key1", "key2"]
    entry = found.entries["key2"]
    assert (entry.record, entry.task, entry.wall_s) == (Record("MRFA", params=2, error="ñ × µ"), {"n": 2}, 0.123)
    assert found.environments == {entry.environment: ENVIRONMENT}
    assert not found.unreadable


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
    assert (list(found.entries), found.unreadable) == (["key0", "key2"], [3])
    fill(path, [1])
    assert sorted(read_store(path).entries) == ["key0", "key1", "key2"]


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
        "import sys\nfrom pathlib import Path\nfrom convbench.sweep.store import Store\n"
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
    fill(path, [0])
    path.write_text(path.read_text() + "no record\n")
    with pytest.raises(UsageError, match=r"s\.jsonl, line 3: no line of a sweep's store"):
        load(path)
