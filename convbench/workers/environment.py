"""Variables that worker processes are started with."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Allocator = Literal["kept", "default"]

_PRELOADED = ("jemalloc", "mimalloc", "tcmalloc")
_EXPORTS = "CONVBENCH_EXPORTS"
_TOP_PAD = "MALLOC_TOP_PAD_"


def timing_environment(threads: int, allocator: Allocator = "kept") -> dict[str, str]:
    """Variables under which times repeat: threads, the allocator, and a pad of its own for every process.

    The pad moves the stack, whose address decides about aliasing in caches, so that replicates differ in it.
    allocator: ``kept``: glibc does not give the heap's top back and fault it in again on every call, which more than
    doubles the time of a 56×56 depthwise + pointwise block; ``default``: it does as it does by itself, or as the
    variables say that the caller has set.
    """
    kept = {_TOP_PAD: str(256 * 2**20)} if allocator == "kept" else {}
    return {
        **kept,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "CONVBENCH_PAD": "x" * random.SystemRandom().randrange(4096),
    }


def exports_folder() -> Path:
    """Where the processes of one measurement keep what they exported for each other; of this process alone if none."""
    return Path(os.environ.get(_EXPORTS) or tempfile.mkdtemp(prefix="convbench-"))


def sharing_exports(folder: Path) -> dict[str, str]:
    """The variables that make ``folder`` that place."""
    return {_EXPORTS: os.fspath(folder)}


def allocator_name(
    allocator: Allocator, variables: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> str:
    """What serves a timed process's memory: ``kept`` or ``default`` for glibc's malloc, the name of one that is
    preloaded in its place, ``system`` where there is no glibc to be told."""
    preloaded = variables.get("LD_PRELOAD", "") + " " + variables.get("DYLD_INSERT_LIBRARIES", "")
    for name in _PRELOADED:
        if any(name in Path(library).name for library in preloaded.replace(":", " ").split()):
            return name
    return allocator if platform == "linux" else "system"
