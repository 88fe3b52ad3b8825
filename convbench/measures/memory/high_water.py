"""The high-water mark of a fresh process: the peak as the kernel sees it, workspaces of libraries included.

Linux alone.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch  # here, so that a process that has imported this job is ready for its target

from convbench.case import Case
from convbench.errors import MeasurementError
from convbench.execution.tensors import tensors_in
from convbench.target.blueprint import Subject
from convbench.target.packed import Packed, pack
from convbench.workers.environment import timing_environment
from convbench.workers.process import Worker

_JOB = "convbench.measures.memory.high_water:run"
_TIMEOUT_S = 600.0
_MAPPED_FROM_BYTES = 4096


def start_high_water(threads: int) -> Worker:
    """A process whose high-water mark is the truth about one call, importing what it needs meanwhile.

    malloc's thresholds are fixed so that every tensor is mapped on its own and given back when it is freed; with the
    defaults freed memory stays in the process, and the mark reads 1.4 to 1.7 times the truth.
    """
    worker = Worker(
        env={
            **timing_environment(threads),
            "MALLOC_MMAP_THRESHOLD_": str(_MAPPED_FROM_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(_MAPPED_FROM_BYTES),
            "MALLOC_TOP_PAD_": "0",
            "MALLOC_MMAP_MAX_": str(2**20),
            "MALLOC_ARENA_MAX": "1",
        }
    )
    worker.prepare(_JOB)
    return worker


def checker(case: Case) -> AbstractContextManager[Worker | None]:
    """The process that will check the memory of ``case``; it comes up while the case is built."""
    is_checked = case.device_type == "cpu" and case.execution == "eager"
    return start_high_water(case.threads) if is_checked else nullcontext()


def high_water_growth(subject: Subject, worker: Worker | None = None) -> int:
    """Bytes by which one call of ``subject`` raises the resident memory of a fresh, warmed-up process.

    worker: of `start_high_water`; unless given, one is started.
    Raises ConvbenchError where that cannot be measured, and says why.
    """
    require_marks()
    with (
        nullcontext(worker) if worker else start_high_water(subject.case.threads) as fresh,
        TemporaryDirectory(prefix="convbench-") as folder,
    ):
        packed = pack(subject.case, Path(folder))
        request = {"do": _JOB, "packed": packed.to_json(), "fingerprint": fingerprint(subject)}
        fresh.wait_ready(_TIMEOUT_S)
        growth: int = fresh.run(request, timeout_s=_TIMEOUT_S)["growth_bytes"]
    return growth


def fingerprint(subject: Subject) -> str:
    """Names, shapes and dtypes of the state and the shapes and dtypes of the input, as one digest.

    A process that builds another subject from the same case, such as a module that the caller changed, is found out.
    """
    state = [(name, list(value.shape), str(value.dtype)) for name, value in _state(subject).items()]
    inputs = [(list(tensor.shape), str(tensor.dtype)) for tensor in tensors_in((subject.args, dict(subject.kwargs)))]
    return hashlib.sha256(json.dumps([state, inputs]).encode()).hexdigest()


def require_marks(process: Path = Path("/proc/self")) -> None:
    """Raise MeasurementError unless the kernel keeps a high-water mark that can be reset."""
    if sys.platform != "linux":
        raise MeasurementError("only Linux has a high-water mark that can be reset")
    try:
        (process / "clear_refs").write_text("5")
    except OSError as error:
        raise MeasurementError(f"the kernel does not let the high-water mark be reset ({error})") from error


def run(request: Mapping[str, Any], _send: Callable[[Mapping[str, Any]], None]) -> dict[str, int]:
    """The worker's job: build the case, warm up, and give the growth of a call.

    Raises MeasurementError when the case builds another subject than the one it was sent for.
    """
    packed = Packed.from_json(request["packed"])
    _no_huge_pages()
    torch.set_num_threads(packed.case.threads)
    subject = packed.blueprint().subject()
    if fingerprint(subject) != request["fingerprint"]:
        raise MeasurementError("a fresh process builds another module or input from this case")
    step = subject.step()
    step.run()  # the first call also sets libraries up and loads their code
    step.clear_gradients()
    gc.collect()
    return {"growth_bytes": growth_of(step.run)}


def growth_of(call: Callable[[], object], process: Path = Path("/proc/self")) -> int:
    """Bytes by which ``call`` raises this process's high-water mark above what is resident before it."""
    (process / "clear_refs").write_text("5")
    before = _kib(process, "VmRSS")
    call()
    return 1024 * (_kib(process, "VmHWM") - before)


def _kib(process: Path, field: str) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise MeasurementError(f"{process / 'status'} has no {field}")


def _no_huge_pages() -> None:
    """Keep pages at 4 KiB: a huge page is resident as a whole as soon as one byte of it is."""
    import ctypes

    pr_set_thp_disable = 41
    ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)


def _state(subject: Subject) -> dict[str, Any]:
    return dict(subject.module.state_dict())
