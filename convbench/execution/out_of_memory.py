"""Whether a failure means that memory ran out. Imports no torch."""

from __future__ import annotations

import errno

_ALLOCATION_FAILED = (
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed: in Python, in torch on any device, or in a library below it."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    try:
        said = str(error).lower()
    except Exception:  # an error of the target's own, which may not even have a text
        return False
    return isinstance(error, RuntimeError) and any(text in said for text in _ALLOCATION_FAILED)
