"""Global state that a forward pass may move, put back afterwards: random generators, warning filters, modes."""

from __future__ import annotations

import gc
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch.utils import _python_dispatch


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave garbage for later: a collection halfway would visit everything ever imported, at the price of the work."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def isolated() -> Iterator[None]:
    """Restore, also after an exception, what other code would notice; modes that are active outside do not apply.

    Transformer layers take the same path in evaluation as in training, whatever the device.
    """
    generator = torch.get_rng_state()
    python_generator = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_generator = numpy.random.get_state() if numpy is not None else None
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    filters = warnings.filters[:]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention fused over ragged (nested) batches; here all is dense
    try:
        with _without_outer_modes(), torch.inference_mode(False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch.set_rng_state(generator)
        random.setstate(python_generator)
        if numpy is not None:
            numpy.random.set_state(numpy_generator)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]


def _without_outer_modes() -> AbstractContextManager[object]:
    if torch._C._len_torch_dispatch_stack():
        return cast(AbstractContextManager[object], _python_dispatch._disable_current_modes())
    return nullcontext()
