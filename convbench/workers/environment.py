"""Variables that worker processes are started with."""

from __future__ import annotations

import random


def timing_environment(threads: int) -> dict[str, str]:
    """Variables under which times repeat: threads, the allocator, and a pad of its own for every process.

    The pad moves the stack, whose address decides about aliasing in caches, so that replicates differ in it.
    MALLOC_TOP_PAD_ keeps glibc from giving the heap's top back and faulting it in again on every call, which doubled
    the time of a 56×56 depthwise + pointwise block.
    """
    return {
        "MALLOC_TOP_PAD_": str(256 * 2**20),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "CONVBENCH_PAD": "x" * random.SystemRandom().randrange(4096),
    }
