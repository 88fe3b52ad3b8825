"""Command lines as nobody should type them, and what every one of them must come to.

A line is a command's quick call, of which words are changed, repeated, left out or added. It must end with one of the
exit codes, without a traceback or an internal error, and print nothing that steers a terminal.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import typer

from convbench.cli.console import verbosity
from convbench.cli.main import app
from convbench.records import Record
from convbench.report.io.document import Report
from convbench.report.io.formats import write
from convbench.workers.process import Worker
from convbench.workers.protocol import described
from convbench.workers.worker import describe, find_job

CODES = {0, 1, 2, 3, 130}
LIMIT_S = 120
_BLOCK = """
from torch import nn
class Plain(nn.Conv2d):
    def __init__(self, dim): super().__init__(dim, dim, 1)
class Marked(Plain):
    def forward(self, x): raise ValueError("[red]:warning: \\x1b[2J \\udce9 \\u202e [/x]")
class Leaves(Plain):
    def forward(self, x): raise SystemExit(0)
"""
_QUICK = "--dim 4 --size 8 --device meta --measure params --measure cost"
_ERF = "--dim 4 --size 8 --samples 1 --seeds 1"
_BASES: tuple[tuple[int, str], ...] = (
    (8, f"profile Conv3x3 {_QUICK}"),
    (8, f"compare Conv3x3 blocks.py:Plain {_QUICK}"),
    (4, f"sweep Conv3x3 PyConv {_QUICK} --dry-run"),
    (3, f"sweep Conv3x3 {_QUICK}"),
    (2, "sweep study.toml --dry-run"),
    (6, "report records.json -o out.html"),
    (4, "report records.csv records.parquet store.jsonl -o out.csv"),
    (4, "check records.csv --measure params"),
    (2, f"plug Conv3x3 --into torchvision:resnet18 --where layer4.*conv2 {_QUICK.replace('--dim 4 ', '')}"),
    (2, f"erf measure Conv3x3 {_ERF}"),
    (1, f"erf compare Conv3x3 blocks.py:Plain {_ERF}"),
    (1, f"erf plot Conv3x3 {_ERF} -o out.svg"),
    (2, "verify Conv3x3 --dim 4 --size 8 --check gradients"),
    (4, "list Conv*"),
    (2, "show Conv3x3 --dim 4"),
    (1, "paper nothing-is-called-so"),
    (1, "calibrate --device nowhere"),
    (1, "env --json"),
)
_NAMES = (
    *("Conv3x3", "conv3X3", "PyConv", "MRFA", "MFRA", "*", "[", "Py*", "", " ", ":", "a:", ":b", "timm:", "timm:nope"),
    *("torchvision:nope", "blocks.py:Plain", "blocks.py:Marked", "blocks.py:Leaves", "blocks.py:None", "blocks.py:nn"),
    *("nofile.py:X", "records.csv", "os:system", "saved:x.pt", "torch.nn:Conv2d", "torch.nn:", "a..b:c", "é:ü"),
    *("[red]x[/red]", ":warning:", "\x1b[31m", "\udce9", "x" * 5000, "../..", "/dev/null", "/dev/zero:x", "-", "--"),
)
_NUMBERS = (
    *("0", "-1", "1", "3", "2.5", "nan", "inf", "-inf", "1e400", "x", "", "0x10", "٣", "1_000", " 4"),
    *("9" * 30, "9" * 5000),
)
_PATHS = (
    *("out.csv", "out.json", "out.md", "out.tex", "out.html", "out.parquet", "out.npz", "out.png", "out.jsonl"),
    *("", ".", "..", "/", "folder", "folder.csv", "gone/out.csv", "out", "out.xyz", ".csv", "link.csv", "pipe.csv"),
    *("null.csv", "full.csv", "circle.csv", "x" * 300 + ".csv", "é\udce9.csv", "[red].csv", "a\nb.csv"),
    *("\x1b.json", "out.csv/", "OUT.CSV"),
)
_WORDS = (*_NAMES, *_NUMBERS, *_PATHS, "meta", "cuda:99", "float16", "params", "cost", "a=b", "p=[1", "=", "1,2,3,4")
_SUITED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("targets", "target", "block", "into", "patterns", "systems", "reference"), _NAMES),
    **dict.fromkeys(("dim", "size", "batch", "threads", "depth", "seed", "processes", "max_time", "timeout"), _NUMBERS),
    **dict.fromkeys(("dims", "sizes", "batches", "seeds", "samples", "layer_scale", "precision"), _NUMBERS),
    **dict.fromkeys(("output", "weights", "memory_timeline", "store", "files", "plots", "baseline"), _PATHS),
    "device": ("meta", "cpu:0", "cuda", "cuda:99", "gpu", "mps", "", "META", "meta:1", "cpu:-1"),
    "shape": ("1,4,8,8", "1,4,8", "", ",", "1,,2", "0,0,0,0", "-1,4,8,8", "1x4x8x8", "9" * 40 + ",4,8,8", "nan,1,1,1"),
    "option": ("bias=True", "bias", "=", "kernels=[3", "kernels=[3,5]", "x=__import__('os')", "dim=8", "a" * 3000),
    "measure": ("params", "cost", "memory", "speed", "", "params,cost", "PARAMS"),
    "columns": ("target,macs", "", ",", "nope", "macs,macs", "TARGET"),
}
# What would take minutes, all memory or a network where it is taken: never left to chance.
_NEVER = {"pretrained", "compile", "rigorous", "install_completion", "show_completion", "slurm", "debug"}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a line came to. code: None where it did not end in time."""

    code: int | None
    out: str
    err: str


def lines(seed: int) -> Iterator[list[str]]:
    """Command lines without end."""
    chance = random.Random(seed)
    options = _options()
    weights, bases = zip(*_BASES, strict=True)
    while True:
        words = shlex.split(chance.choices(bases, weights)[0])
        known = options[" ".join(words[:2])] if words[0] == "erf" else options[words[0]]
        for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 5))):
            words = _changed(words, known, chance)
        yield _harmless(words)


def faults(ran: Ran) -> list[str]:
    """What is wrong with what a line came to."""
    text = ran.out + ran.err
    found = []
    if ran.code not in CODES:
        found.append(f"exit code {ran.code}")
    if "Traceback (most recent call last)" in text:
        found.append(f"a traceback: {text.strip().splitlines()[-1][:200]}")
    if internal := re.search(r"internal error: .*", text):
        found.append(internal[0][:300])
    if ran.code not in (0, None) and not ran.err.strip():
        found.append(f"exit code {ran.code} without a word")
    if ran.code == 2 and len(ran.err.splitlines()) > 40:
        found.append("a message of more than 40 lines")
    if steering := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text):
        found.append(f"{steering[0]!r} in what is printed")
    return found


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder with the files that lines name, the current one meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "blocks.py").write_text(_BLOCK)
        (folder / "study.toml").write_text('targets = ["Conv3x3"]\ndims = [4, 8]\nsizes = 8\ndevices = "meta"\n')
        options = json.dumps({"dim": 8})
        record = Record("Conv3x3", "block", options, "1x8x8x8", device="meta", dtype="float32", params=592, macs=36864)
        for suffix in (".csv", ".json", ".parquet"):
            write(folder / f"records{suffix}", Report([record]))
        line = {"key": "a", "record": {"target": "Conv3x3", "params": 592}, "task": {}, "wall_s": 1}
        (folder / "store.jsonl").write_text(json.dumps(line) + "\n")
        for place in ("folder", "folder.csv"):
            (folder / place).mkdir()
        os.mkfifo(folder / "pipe.csv")
        for link, to in (("link", "out.csv"), ("null", "/dev/null"), ("full", "/dev/full"), ("circle", "circle.csv")):
            (folder / f"{link}.csv").symlink_to(to)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def run_here(words: list[str]) -> Ran:
    """Run a line in this process, the jobs that it sends to workers as well."""
    out, err = io.StringIO(), io.StringIO()
    code: int | None = 0
    with workplace(), _jobs_here(), mock.patch.object(sys, "argv", ["convbench", *words]), _limited():
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                app(list(words), prog_name="convbench")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        except _TooLong:
            code = None
        finally:
            verbosity.quiet = verbosity.verbose = verbosity.debug = False
    return Ran(code, out.getvalue(), err.getvalue())


def run_apart(words: list[str], chance: random.Random) -> Ran:
    """Run a line as a command of its own, its streams and surroundings as bad as they come."""
    redirection = chance.choice(("", "", ">&-", "2>&-", ">/dev/full", "| true", "<&-"))
    odd = chance.choice(("PYTHONIOENCODING=ascii", "LC_ALL=C", "HOME=/nowhere", "TMPDIR=/nowhere", "COLUMNS=0"))
    name, _, value = odd.partition("=")
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-m", "convbench", *words]
    with workplace():
        try:
            done = subprocess.run(
                list(map(os.fsencode, command)),
                env={**os.environ, name: value},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran(None, "", "")
    said = done.stderr.decode(errors="replace")
    return Ran(done.returncode, done.stdout.decode(errors="replace"), said or (" ." if "2>" in redirection else ""))


def _options() -> dict[str, list[Any]]:
    """The parameters of every command, by its words."""
    group: Any = typer.main.get_command(app)
    found = {name: list(command.params) for name, command in group.commands.items()}
    return found | {f"erf {name}": list(command.params) for name, command in group.commands["erf"].commands.items()}


def _changed(words: list[str], known: list[Any], chance: random.Random) -> list[str]:
    place = chance.randrange(1, len(words) + 1)
    parameter = chance.choice([item for item in known if item.name not in _NEVER] or [None])
    flags = [*parameter.opts, *parameter.secondary_opts] if parameter is not None else ["--help"]
    flag = chance.choice([name for name in flags if name.startswith("-")] or [""])
    value = chance.choice(_SUITED.get(getattr(parameter, "name", ""), _WORDS))
    added = [flag] if getattr(parameter, "is_flag", False) else [flag, value] if flag else [value]
    kind = chance.random()
    if kind < 0.55:
        return [*words, *added]
    if kind < 0.7:
        return [*words[:place], *words[place + 1 :]]
    if kind < 0.85:
        return [*words[:place], chance.choice(_WORDS), *words[place + 1 :]]
    if kind < 0.9:
        return [*words, *words[place:]]
    if kind < 0.95:
        return [*words, chance.choice(("-q", "-v", "--help", "--version", "--", "--nope", "-x", flag[:-1] or "-"))]
    return [*words, f"{flag}={value}"]


def _harmless(words: list[str]) -> list[str]:
    """The line without what would measure for long: nothing but refused devices and meta, where more is computed."""
    words = [word for word in words if word not in ("cpu", "latency", "erf plot", "--pretrained", "--compile")]
    if words[0] in ("profile", "compare", "sweep", "plug") and "--" not in words:
        words += ["--device", "meta", "--measure", "params"]
    if words[0] in ("verify",) and "--" not in words:
        words += ["--check", "gradients"]
    if words[0] == "calibrate":
        words += ["--device", "nowhere"]
    if words[0] in ("erf", "verify", "show"):
        words = [word for word in words if len(word) < 20 or not word.strip("9").isdigit()]
    return words


@contextmanager
def _jobs_here() -> Iterator[None]:
    """Have workers' jobs done in this process: importing torch anew for each line would take most of the time."""

    def run(self: Worker, request: Mapping[str, Any], *, on_message: Any = None, **_: Any) -> Any:
        def send(message: Mapping[str, Any]) -> None:
            if on_message is not None:
                on_message(json.loads(json.dumps(message)))

        try:
            return json.loads(json.dumps(find_job(request["do"])(json.loads(json.dumps(request)), send)))
        except (_TooLong, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise described(json.loads(json.dumps(describe(error)))) from None

    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    parts = {"__init__": nothing, "prepare": nothing, "wait_ready": nothing, "close": nothing, "kill": nothing}
    with mock.patch.multiple(Worker, run=run, alive=True, **parts):
        yield


class _TooLong(BaseException):
    """A line did not end in time."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
