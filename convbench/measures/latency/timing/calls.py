"""The call that is timed: one forward, with or without gradients, or one training step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from convbench.errors import MeasurementError
from convbench.execution.runtimes import RUNTIMES
from convbench.measures.latency.timing.clock import Call
from convbench.target.blueprint import Subject

Guard = Callable[[], AbstractContextManager[Any]]


def make_call(subject: Subject) -> tuple[Call, Guard]:
    """One call of ``subject`` without arguments, and the gradient mode that is entered around calls, untimed.

    The call is that of `convbench.execution.step`; inference runs in inference mode. Compiled subjects compile on the
    first call. Raises MeasurementError for a case that another runtime runs; see `convbench.execution.runtimes`.
    """
    if subject.case.execution in RUNTIMES:
        raise MeasurementError(f"only times are taken of what {subject.case.execution} runs")
    step = subject.step()
    if subject.case.execution == "compiled":
        step = replace(step, call=torch.compile(subject.module))
    return step.repeated(), step.gradient_mode
