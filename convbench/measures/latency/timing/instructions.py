"""Instructions that one call executes, counted by valgrind's callgrind: within 0.1% on every run, whatever the load.

Addresses are not randomised, since copies and hash tables take other paths at other addresses. The count is of the
processor that valgrind emulates, which has no AVX-512: libraries that choose their kernels by processor choose those
for AVX2.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convbench.errors import MeasurementError
from convbench.measures.latency.timing.calls import Guard
from convbench.measures.latency.timing.clock import Call
from convbench.target.packed import Packed

_WARM_UP = 25  # the interpreter specialises its bytecode over some twenty calls
_CALLS = 20
_REPEATS = 5

_SETUP = """
from convbench.measures.latency.timing.instructions import ready_call
call, guard = ready_call({packed!r})
"""
_STATEMENT = """
with guard():
    call()
"""


def run(request: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """The worker's job: ``{"instructions": …, "batch": …}`` of ``request["packed"]``.

    Raises MeasurementError where valgrind is missing or does not run.
    """
    from torch.utils.benchmark import Timer

    packed = Packed.from_json(request["packed"])
    require_valgrind()
    _put_this_python_first()
    _fix_addresses()
    # An error in the target is told at once, and not by valgrind after a minute.
    shape = next(iter(packed.blueprint().subject().shapes), ())
    timer = Timer(_STATEMENT, setup=_SETUP.format(packed=json.dumps(packed.to_json())), num_threads=packed.case.threads)
    try:
        counted = timer.collect_callgrind(
            number=_CALLS, repeats=_REPEATS, collect_baseline=False, retain_out_file=False
        )
    except OSError as error:
        raise MeasurementError(f"valgrind gave no count: {str(error).strip().splitlines()[0]}") from error
    # The least: now and then an allocator or a hash table is at a boundary and takes the longer path.
    fewest = min(stats.counts() for stats in counted)
    return {"instructions": round(fewest / _CALLS), "batch": shape[0] if shape else 1}


def ready_call(packed: str) -> tuple[Call, Guard]:
    """The warmed-up call of a case given as JSON; runs inside valgrind."""
    import gc

    import torch

    from convbench.measures.latency.timing.calls import make_call

    asked = Packed.from_json(json.loads(packed))
    torch.set_num_threads(asked.case.threads)
    call, guard = make_call(asked.blueprint().subject())
    with guard():
        for _ in range(_WARM_UP):
            call()
    gc.collect()
    gc.disable()
    return call, guard


def require_valgrind() -> None:
    """Raise MeasurementError, saying how to get it, unless valgrind is there."""
    if shutil.which("valgrind") is None:
        raise MeasurementError("counting instructions needs valgrind (apt-get install valgrind); or use --metric time")


def _put_this_python_first() -> None:
    """torch starts ``python`` under valgrind; it must be the one that runs here."""
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", "")])
    os.environ["PYTHONHASHSEED"] = "0"  # the order of dictionaries decides how many instructions a look-up takes


def _fix_addresses() -> None:
    """Have the processes that this one starts load everything at the same addresses (Linux)."""
    if sys.platform == "linux":
        import ctypes

        addr_no_randomize = 0x0040000
        ctypes.CDLL(None).personality(addr_no_randomize)
