"""Verifying in a worker process: a request prepares a target, each further one carries out one check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from convbench.case import Case
from convbench.workers.codec import encode
from convbench.workers.worker import Send


@dataclass(frozen=True, slots=True)
class Prepared:
    """A target that was built once, and how it is verified.

    case: with the size that was settled on. options: the effective ones as one JSON object. input_shape: of the
    checks' inputs, as in a record. problem: why it cannot even be called, or nothing.
    """

    case: Mapping[str, Any]
    name: str
    options: str
    input_shape: str
    torch_version: str
    problem: str


def prepare(request: Mapping[str, Any], _send: Send) -> Any:
    """The worker's job: ``case`` as `Prepared`, encoded. Raises UsageError."""
    import torch

    from convbench.execution.device import require_device
    from convbench.notation import format_options
    from convbench.verify.run import prepare as prepare_trial
    from convbench.verify.run import problem_of

    case = Case.from_json(request["case"])
    require_device(case.device)
    trial = prepare_trial(case)
    design = trial.design
    transforms = {"transforms": "+".join(case.transforms)} if case.transforms else {}
    options = format_options({**design.options, **transforms})
    row = trial.case.to_json()
    return encode(Prepared(row, design.name, options, trial.inputs, str(torch.__version__), problem_of(trial)))


def check(request: Mapping[str, Any], _send: Send) -> Any:
    """The worker's job: the result of the check ``check`` of ``case``, encoded.

    required: see `CheckResult`. thorough: see `Trial`.
    """
    from dataclasses import replace

    from convbench.verify.run import run_check
    from convbench.verify.table import CHECKS

    row = next(item for item in CHECKS if item.name == request["check"])
    trial = _trial(Case.from_json(request["case"]), bool(request.get("thorough")))
    return encode(run_check(trial, replace(row, required=request["required"])))


@lru_cache(maxsize=1)
def _trial(case: Case, thorough: bool) -> Any:
    """The checks of one target share what they compare with."""
    from convbench.target.blueprint import blueprint
    from convbench.verify.trial import Trial

    return Trial(blueprint(case), thorough=thorough)
