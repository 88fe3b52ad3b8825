"""Damaged, foreign and hostile inputs for whatever reads or parses what others wrote.

Every reader has a few good inputs. A call damages one of them, in its bytes or in its structure, and reads it: it may
give a value or raise a `ConvbenchError`; anything else is a finding.
"""

from __future__ import annotations

import io
import json
import random
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from convbench.case import Case
from convbench.check.recorded import case_of
from convbench.errors import ConvbenchError
from convbench.inputs import read_inputs
from convbench.notation import parse_options
from convbench.reference import read_case
from convbench.report.io.csv_file import to_csv
from convbench.report.io.document import Report
from convbench.report.io.json_file import to_json
from convbench.report.io.latex import to_latex
from convbench.report.io.load import join, load
from convbench.report.io.markdown import to_markdown
from convbench.report.io.parquet import to_parquet
from convbench.report.page.page import render_page
from convbench.sweeps.settings import settings_from_flags
from convbench.sweeps.store import Store
from convbench.sweeps.study import make_study
from convbench.sweeps.study_file import settings_from_file
from convbench.sweeps.task import Task, make_task
from convbench.target.vetting import refuse_by_sight
from convbench.target.weights import read_state
from tests.report.made_up_records import ENVIRONMENT, record

Random = random.Random

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**400), 0.5, -0.0, 1e308, 1e-320, 1.5),
    *("", "x", "[/x]", ":smile:", "\x1b[31m", "\x00", "\ud800", "\u202e", "1x2x3", "nan", "=1+1", "../../x", "é" * 300),
    *([], {}, [[]], [None], {"": {}}, [1, "2"], {"a": [{}]}, "os:system", "saved:x.pt", "a\0.py:B"),
)
TOKENS = (
    *(b"NaN", b"Infinity", b"1e999", b"-1", b"9" * 4400, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"\\ud800"', b"null"),
    *(b"[" * 3000, b"{" * 50, b'{"a":' * 2000, b'"', b"\\", b"\n", b"\r", b",", b":", b"true", b"\xe2\x80\xa8", b"'"),
    *(b"99", b"2.14.1", b"[[grid]]\n", b"[options]\n", b"=", b"#", b'"""', b"1979-05-27T07:32:00Z", b"x" * 3000),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """One way in. samples: good inputs. read: what is called with a damaged one, and a folder of its own.

    structured: whether a sample is JSON, whose values can be exchanged one for another.
    """

    samples: Sequence[bytes]
    read: Callable[[bytes, Path], object]
    structured: bool = False


def damaged(sample: bytes, chance: Random, *, structured: bool) -> bytes:
    """``sample`` after one to three accidents."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        sample = _exchanged(sample, chance) if structured and chance.random() < 0.7 else _torn(sample, chance)
    return sample


def _exchanged(sample: bytes, chance: Random) -> bytes:
    """A value somewhere in the JSON text is another one; a text that is no JSON any more is torn instead."""
    try:
        content = json.loads(sample)
    except (ValueError, RecursionError):
        return _torn(sample, chance)
    places: list[tuple[Any, Any]] = []
    level = [content]
    while level:
        item = level.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        places += [(item, key) for key in keys]
        level += [item[key] for key in keys]
    if not places:
        return json.dumps(chance.choice(VALUES)).encode()
    holder, key = chance.choice(places)
    what = chance.random()
    if what < 0.1:
        del holder[key]
    elif what < 0.2 and isinstance(holder, dict):
        holder[chance.choice(("x", "schema_version", "../x", "a b", ""))] = chance.choice(VALUES)
    else:
        holder[key] = chance.choice(VALUES)
    return json.dumps(content).encode()


def _torn(sample: bytes, chance: Random) -> bytes:
    start, end = sorted(chance.randrange(len(sample) + 1) for _ in range(2))
    end = min(end, start + chance.choice((1, 4, 40, 10**9)))
    return chance.choice(
        (
            lambda: sample[:start] + sample[end:],
            lambda: sample[:start],
            lambda: sample[:end] + sample[start:],
            lambda: sample[:start] + chance.choice(TOKENS) + sample[start:],
            lambda: sample[:start] + chance.choice(TOKENS) + sample[end:],
            lambda: sample[:start] + bytes([chance.randrange(256)]) + sample[start + 1 :],
            lambda: chance.randbytes(chance.choice((0, 1, 7, 200))),
            lambda: sample.decode("latin-1").encode(
                chance.choice(("utf-16", "utf-8", "cp1252", "utf-8-sig")), "replace"
            ),
        )
    )()


def _file(suffix: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def call(data: bytes, folder: Path) -> object:
        path = folder / f"input{suffix}"
        path.write_bytes(data)
        return read(path)

    return call


def _loaded(path: Path) -> object:
    """What is accepted must be rendered in every format; pages, which take long, for few."""
    report = join([load(path)])
    for render in (to_csv, to_json, to_markdown, to_latex, to_parquet):
        render(report)
    if sum(path.read_bytes()) % 40 == 0:
        render_page(report)
    return report


def _replayed(path: Path) -> object:
    cases = [case_of(row, {}) for row in load(path).records]
    return [(case.key, refuse_by_sight(case)) for case in cases]


def _stored(path: Path) -> object:
    with Store(path) as store:
        store.append("new", record(), {}, None, 1.0)
    path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
    return _loaded(path)


def _study(path: Path) -> object:
    return [refuse_by_sight(case) for _, case in make_study(settings_from_file(path)).named_by_data]


def _text(parse: Callable[[str], object]) -> Callable[[bytes, Path], object]:
    return lambda data, folder: parse(data.decode("utf-8", "surrogateescape"))


def _row(parse: Callable[[Any], object]) -> Callable[[bytes, Path], object]:
    """A parser of JSON values that JSON's own parser has let through."""

    def call(data: bytes, folder: Path) -> object:
        try:
            row = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return parse(row) if isinstance(row, dict) else None

    return call


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader by name. folder: where samples are written that only their own writers can make."""
    records = [record("MRFA"), record("PyConv", dim=32), record("Conv3x3", status="error", error="cost: no")]
    sections: dict[str, Any] = {"modules": [{"name": "conv", "macs": 3, "share": 0.5}, {"name": "act", "macs": 0}]}
    calibration = {"device": "cpu", "threads": 1, "flops_per_s": {"float32": 1e10}, "bytes_per_s": 1e10}
    report = Report(records, {**ENVIRONMENT, "calibrations": [calibration]}, sections, "convbench sweep")
    joined = join([Report(records, ENVIRONMENT, command="a"), Report(records[:1], {**ENVIRONMENT, "python": "3"})])
    case = Case("PyConv", dim=16, options=(("kernels", [3, 5]),), mode="training", transforms=("refocus",))
    task = make_task(case, ("params", "latency"), latency=(("max_time_s", 1.0),))
    csv, text = to_csv(report)[""].encode(), to_json(report)[""].encode()
    return {
        "shape": Reader(
            [b"1,64,56,56", b"1x3x8x8;step=2:int64:0..9", b"{a: [1x2, (scalar:bool, value:3)]}"], _text(read_inputs)
        ),
        "reference": Reader(
            [b"PyConv(kernels=[3,5], act='x')@dim=96,shape=1x2x3x4+refocus+fused", b"a/b.py:C(k={'a': 1})@seed=3"],
            _text(lambda text: read_case(text, Case(""))),
        ),
        "options": Reader(
            [b"kernels=[3,5]", b"bias=True", b"name='a'", b"k={'a': (1, 2.5)}", b"dim=-3"],
            _text(lambda text: parse_options([text])),
        ),
        "flags": Reader(
            [b"kernel_size=7,11", b"a=[3],[4]", b"b=x,y"], _text(lambda text: settings_from_flags({}, [text]))
        ),
        "study": Reader([_STUDY, b'targets = "MRFA"\nmeasures = ["params"]\n'], _file(".toml", _study)),
        "csv": Reader([csv, csv.replace(b"MRFA", b"mine.py:Mine")], _file(".csv", _loaded)),
        "json": Reader([text, to_json(joined)[""].encode()], _file(".json", _loaded), structured=True),
        "parquet": Reader([to_parquet(report)[""], to_parquet(joined)[""]], _file(".parquet", _loaded)),
        "store": Reader([_store(folder, records)], _file(".jsonl", _stored)),
        "store line": Reader(_store(folder, records).splitlines(), _file(".jsonl", _loaded), structured=True),
        "record to case": Reader([text], _file(".json", _replayed), structured=True),
        "receptive fields": Reader([_npz({"fields": [_FIELD]})], _file(".npz", _loaded)),
        "description": Reader(
            [json.dumps({"fields": [_FIELD]}).encode()],
            lambda data, place: _file(".npz", _loaded)(_npz(data.decode("utf-8", "replace")), place),
            structured=True,
        ),
        "case": Reader([json.dumps(case.to_json()).encode()], _row(Case.from_json), structured=True),
        "task": Reader([json.dumps(task.to_json()).encode()], _row(Task.from_json), structured=True),
        "checkpoint": Reader([_checkpoint(zipped) for zipped in (True, False)], _file(".pth", read_state)),
        "safetensors": Reader([_safetensors()], _file(".safetensors", read_state)),
    }


_STUDY = b"""targets = ["MRFA", "torch.nn:Conv2d", "timm:resnet18"]
dims = [32, 64]
shapes = "1,64,8,8"
measures = ["params", "cost"]
timeout = 3.5
[options]
bias = [true, false]
[options.MRFA]
alpha = 1
[[grid]]
modes = "training"
[[grid]]
seeds = [1, 2]
"""
_FIELD = {
    "target": "M",
    "offset_y_px": 0.0,
    "offset_x_px": 0.5,
    "radial_distance_px": [0.5, 1.0],
    "radial_share": [0.6, 0.4],
    "receptive_field_height_px": 5,
    "receptive_field_width_px": 5,
    "side_50_px": 2.0,
    "sigma_px": 1.5,
    "agd": 0.5,
    "statistic": "mean",
    "probe": "centre",
    "mode": "training",
    "depth": 1,
    "samples": 4,
    "dtype": "float32",
}


def _store(folder: Path, records: Sequence[Any]) -> bytes:
    path = folder / "sample.jsonl"
    path.unlink(missing_ok=True)
    moment = {"utc": "2026-01-02T03:04:05Z", "load_1m": 0.25}
    with Store(path) as store:
        for index, row in enumerate(records):
            store.append(str(index), row, {}, ENVIRONMENT, 1.0, {"start": moment, "end": moment, "source": None})
    return path.read_bytes()


def _npz(description: Any) -> bytes:
    buffer = io.BytesIO()
    text = description if isinstance(description, str) else json.dumps(description)
    np.savez(buffer, description=text, map_0=np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]))  # type: ignore[arg-type]
    return buffer.getvalue()


def _checkpoint(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"state_dict": {"conv.weight": torch.ones(2, 2), "conv.bias": torch.zeros(2)}, "epoch": 3}
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _safetensors() -> bytes:
    from safetensors.torch import save

    data: bytes = save({"conv.weight": torch.ones(2, 2)})
    return data


def fuzz(name: str, reader: Reader, calls: int, seed: int, folder: Path) -> Counter[str]:
    """What ``calls`` calls raised that was no ConvbenchError, by kind and place."""
    chance = Random(f"{name}-{seed}")
    found: Counter[str] = Counter()
    with warnings.catch_warnings(), mock.patch("os.fsync"):  # nothing here has to outlive a power cut
        warnings.simplefilter("ignore")
        for _ in range(calls):
            data = damaged(chance.choice(reader.samples), chance, structured=reader.structured)
            try:
                reader.read(data, folder)
            except ConvbenchError as error:
                if not str(error).strip() or len(str(error)) > 5000:
                    found[f"{name}: a message of {len(str(error))} characters"] += 1
            except Exception as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                ours = next(
                    (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "/convbench/" in f.filename),
                    frame,
                )
                place = f"{Path(ours.filename).name}:{ours.lineno}"
                found[f"{name}: {type(error).__name__} at {place}: {str(error)[:100]!r}"] += 1
                (folder / f"finding-{name.replace(' ', '-')}-{type(error).__name__}-{ours.lineno}").write_bytes(data)
    return found
