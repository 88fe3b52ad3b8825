"""The table of checks: a name, whether it is required, what it asks, and the function that answers. Imports no torch.

A check is a function ``Trial -> str``: it returns what is worth knowing about a pass (or nothing), and raises
`Failed`, `NotApplicable` or `Skipped` with the reason. Required are the checks that every training loop relies on;
the others decide where else a target can run, and are promoted by ``--require``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convbench.errors import UnknownNameError, UsageError, nearest

if TYPE_CHECKING:
    from convbench.verify.trial import Trial

Function = Callable[["Trial"], str]


@dataclass(frozen=True, slots=True)
class Check:
    """One row: ``location`` is ``"module:function"`` within this package; ``skipped`` where the user left it out."""

    name: str
    required: bool
    question: str
    location: str
    skipped: bool = False

    def load(self) -> Function:
        """Import the function that carries the check out."""
        module, _, attribute = self.location.partition(":")
        function: Function = getattr(importlib.import_module(f"convbench.verify.{module}"), attribute)
        return function


CHECKS: tuple[Check, ...] = (
    Check("forward", True, "Is every output finite?", "calls:forward"),
    Check("backward", True, "Does a training step give finite gradients, to the input too?", "calls:backward"),
    Check("gradients", True, "Are the gradients those of finite differences in float64?", "gradients:gradients"),
    Check("batch-independence", True, "Does a sample's output not depend on its batch?", "calls:batch_independence"),
    Check("determinism", True, "Do equal seeds and equal inputs give equal bits?", "calls:determinism"),
    Check("eval-train", True, "Do both modes agree but for batch norm and dropout?", "calls:eval_train"),
    Check("keeps-input", False, "Is the input left unchanged?", "calls:keeps_input"),
    Check("odd-sizes", False, "Does it take heights and widths that are odd and differ?", "shapes:odd_sizes"),
    Check("empty-batch", False, "Does a batch of no samples give a batch of no outputs?", "shapes:empty_batch"),
    Check("meta", True, "Does it build and run on the meta device, with the same shapes?", "shapes:meta"),
    Check("channels-last", True, "Does channels_last give the same outputs and gradients?", "layouts:channels_last"),
    Check("autocast-bf16", False, "Does autocast to bfloat16 run and stay close?", "layouts:autocast_bf16"),
    Check("autocast-fp16", False, "Does autocast to float16 run and stay close?", "layouts:autocast_fp16"),
    Check("state-dict", True, "Does the state dict hold everything that outputs depend on?", "copies:state_dict"),
    Check("deepcopy", True, "Does a deep copy give the same outputs and share nothing?", "copies:deep_copy"),
    Check("pickle", True, "Does the module survive pickling?", "copies:pickling"),
    Check("trace", False, "Does its TorchScript trace hold for other inputs?", "deploy:trace"),
    Check("export", False, "Does torch.export give a program that agrees?", "deploy:export"),
    Check("onnx", False, "Does onnxruntime agree on the exported ONNX model?", "deploy:onnx"),
    Check("compile", False, "Does torch.compile give a module that agrees?", "deploy:compiled"),
)


def choose_checks(only: Sequence[str] = (), skip: Sequence[str] = (), require: Sequence[str] = ()) -> tuple[Check, ...]:
    """The checks to report, in the table's order.

    only: these alone; skip: these are reported without being run; require: count these as required.
    Raises UnknownNameError for a name that the table lacks, and UsageError where nothing is left to run.
    """
    known = {check.name: check for check in CHECKS}
    for name in (*only, *skip, *require):
        if name not in known:
            hint = nearest(name, known) or " `convbench verify --help` names them"
            raise UnknownNameError(f"no check is called {name!r}.{hint}")
    chosen = tuple(
        replace(check, required=check.required or check.name in require, skipped=check.name in skip)
        for check in CHECKS
        if not only or check.name in only
    )
    if all(check.skipped for check in chosen):
        raise UsageError("every check that was asked for is also skipped: nothing is left to verify")
    return chosen
