"""Which allocator serves a timed process."""

from __future__ import annotations

import pytest

from convbench.workers.environment import allocator_name, timing_environment


def test_the_heap_is_kept_unless_the_default_is_asked_for() -> None:
    assert timing_environment(2)["MALLOC_TOP_PAD_"] == "268435456"
    left = timing_environment(2, "default")
    assert not any(name.startswith("MALLOC") for name in left)
    assert left["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("variables", "platform", "expected"),
    [
        ({}, "linux", "default"),
        ({"LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"}, "linux", "jemalloc"),
        ({"LD_PRELOAD": "/opt/jemalloc-free/libfoo.so /usr/lib/libmimalloc.so"}, "linux", "mimalloc"),
        ({"LD_PRELOAD": "/opt/jemalloc/libfoo.so"}, "linux", "default"),
        ({"DYLD_INSERT_LIBRARIES": "/opt/lib/libmimalloc.dylib"}, "darwin", "mimalloc"),
        ({}, "darwin", "system"),
    ],
)
def test_the_allocator_is_named(variables: dict[str, str], platform: str, expected: str) -> None:
    assert allocator_name("default", variables, platform) == expected
