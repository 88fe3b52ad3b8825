"""Everything around a module that running it may move, put back afterwards, also after an exception."""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch.utils import _python_dispatch

State = tuple[Callable[[], Any], Callable[[Any], object]]
"""How a state is read, and how it is put back."""


def _default_device() -> object:
    """The device of ``torch.set_default_device``; None where nobody has set one."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_environment(values: dict[str, str]) -> None:
    for name in set(os.environ) - set(values):
        del os.environ[name]
    os.environ.update(values)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed under this process
        return None


def _set_directory(path: str | None) -> None:
    with suppress(OSError):
        os.chdir(path or "/")


def _attribute(owner: object, name: str) -> State:
    return lambda: getattr(owner, name), lambda was: setattr(owner, name, was)


def _autocast(kind: str) -> State:
    """Autocast of one kind of device; a region that a target opened and did not leave stays open otherwise."""

    def write(was: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, was[0])
        torch.set_autocast_dtype(kind, was[1])

    return lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), write


_FLAGS: tuple[State, ...] = (
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda was: torch.use_deterministic_algorithms(was[0], warn_only=was[1]),
    ),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    *(_autocast(kind) for kind in ("cpu", "cuda", "xpu")),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (lambda: list(warnings.filters), _set_filters),
    (lambda: dict(os.environ), _set_environment),
    (_directory, _set_directory),
    (lambda: list(sys.path), lambda was: sys.path.__setitem__(slice(None), was)),
    (gc.isenabled, lambda was: gc.enable() if was else gc.disable()),
)


@contextmanager
def guarded(device: torch.device | str = "cpu") -> Iterator[None]:
    """Put back, also after an exception, what other code would notice: the random states of torch, of the device, of
    NumPy and of Python; torch's global flags and defaults; warning filters, environment, working directory."""
    generators = [(write, read()) for read, write in _generators(torch.device(device))]
    flags = [(read, write, read()) for read, write in _FLAGS]
    try:
        yield
    finally:
        for write, state in generators:
            write(state)
        for read, write, state in flags:
            if read() != state:
                write(state)


@contextmanager
def isolated(device: torch.device | str = "cpu", *, fast_attention: bool = False) -> Iterator[None]:
    """`guarded`, and modes that are active outside do not apply: another dispatch mode, inference mode.

    Without ``fast_attention`` transformer layers take the same path in evaluation as in training.
    """
    with guarded(device), _without_outer_modes(), torch.inference_mode(False):
        if not fast_attention:
            torch.backends.mha.set_fastpath_enabled(False)
        yield


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Random states of torch and its devices, NumPy and Python that depend on ``seed`` alone; put back afterwards."""
    with guarded(device):
        torch.manual_seed(seed)
        random.seed(seed)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(seed % 2**32)
        yield


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep torch from logging what fails here, with its traceback: the failure is caught, or told in other words."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave garbage for later: a collection halfway would visit everything ever imported, at the price of the work,
    and would free cycles at a time that depends on what else the process did."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _generators(device: torch.device) -> Iterator[State]:
    yield random.getstate, random.setstate
    if (numpy := sys.modules.get("numpy")) is not None:
        yield numpy.random.get_state, numpy.random.set_state
    yield torch.get_rng_state, torch.set_rng_state
    if device.type == "cuda" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all
    if device.type == "mps":
        yield torch.mps.get_rng_state, torch.mps.set_rng_state
    elif device.type == "xpu":
        yield torch.xpu.get_rng_state_all, torch.xpu.set_rng_state_all


def _without_outer_modes() -> Any:
    return _python_dispatch._disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext()
