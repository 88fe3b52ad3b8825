"""The peak that memray sees of one call, in a fresh process. Only Linux and macOS have memray: pip install memray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import memray
import torch

from convbench.case import Case
from convbench.measures.memory.step import step_of
from convbench.target.blueprint import make_subject
from convbench.workers.process import run_in_worker


def memray_peak(case: Case) -> int:
    """Bytes that one call of ``case`` allocates at most, from malloc and mmap, after one warm-up call."""
    environment = {"OMP_NUM_THREADS": str(case.threads)}
    peak: int = run_in_worker({"do": "memray_peak:run", "case": case.to_json()}, env=environment)["peak_bytes"]
    return peak


def run(request: Mapping[str, Any], _send: Callable[[Mapping[str, Any]], None]) -> dict[str, int]:
    """The worker's job."""
    case = Case.from_json(request["case"])
    torch.set_num_threads(case.threads)
    subject = make_subject(case)
    step = step_of(subject, subject.module, subject.args, {})
    step.run()
    step.clear_gradients()
    with TemporaryDirectory() as folder:
        record = Path(folder) / "call.bin"
        with memray.Tracker(record):
            step.run()
        return {"peak_bytes": memray.FileReader(record).metadata.peak_memory}
