"""Preparing a target and carrying out a check; whatever a check raises is its result."""

from __future__ import annotations

import time
from dataclasses import replace

from convbench.case import DEFAULT_IMAGE_SIZE, DEFAULT_SIZE, Case
from convbench.errors import MissingExtraError, ShapeError, UsageError
from convbench.target.blueprint import Blueprint, blueprint
from convbench.verify.calls import first_line
from convbench.verify.result import CheckResult, Failed, NotApplicable, Skipped, Status
from convbench.verify.table import Check
from convbench.verify.trial import Trial

_SIZES = {"block": (16, DEFAULT_SIZE), "network": (64, 65, DEFAULT_IMAGE_SIZE)}
"""Sizes tried in turn where none is given: the first that the target takes. Small ones keep a block to seconds."""


def prepare(case: Case) -> Trial:
    """The target of ``case``, built once to prove that it can be. Raises UsageError.

    The case's dtype, mode, memory format and execution are left out of account: they are what the checks vary.
    """
    if case.device == "meta":
        raise UsageError(
            "verify computes, and nothing is computed on meta: use --device cpu (building on meta is a check)"
        )
    design = blueprint(case)
    if case.size is None and not case.shapes and _takes_sizes(design):
        return Trial(_smallest(design))
    design.module()
    return Trial(design)


def problem_of(trial: Trial) -> str:
    """Why the target cannot even be called, or nothing. Where the forward pass fails, nothing else can be asked."""
    try:
        _ = trial.output
    except UsageError:
        raise
    except Exception as error:  # the target's own code runs here
        return first_line(error)
    return ""


def run_check(trial: Trial, check: Check) -> CheckResult:
    """The result of one check."""
    status: Status = "pass"
    started = time.perf_counter()
    try:
        reason = check.load()(trial)
    except Failed as error:
        status, reason = "fail", str(error)
    except NotApplicable as error:
        status, reason = "not applicable", str(error)
    except (Skipped, MissingExtraError) as error:
        status, reason = "skipped", str(error)
    except Exception as error:  # the target's own code runs here and may fail in any way
        status, reason = "fail", first_line(error)
    return CheckResult(check.name, check.required, status, reason, time.perf_counter() - started)


def _takes_sizes(design: Blueprint) -> bool:
    """Whether its inputs can be asked for in another size."""
    try:
        return bool(replace(design, case=replace(design.case, size=_SIZES[design.kind][0])).shapes())
    except ShapeError:
        return False


def _smallest(design: Blueprint) -> Blueprint:
    """The design at the first of the default sizes that it accepts; at the last one where it accepts none."""
    for size in _SIZES[design.kind]:
        sized = replace(design, case=replace(design.case, size=size))
        trial = Trial(sized)
        try:
            _ = trial.output
            return sized
        except UsageError:
            raise
        except Exception:  # a fixed input size, a window that does not divide: the next size may do
            continue
    return sized
