"""Checks of a module's state: the state dict holds all of it, and copies stand on their own."""

from __future__ import annotations

import copy
import io
import pickle

import torch
from torch import nn

from convbench.verify.agreement import require_equal
from convbench.verify.calls import first_line
from convbench.verify.result import Failed
from convbench.verify.trial import Trial


def state_dict(trial: Trial) -> str:
    """Saved, read back as weights only and loaded strictly into a module of another seed, it gives the same bits."""
    file = io.BytesIO()
    torch.save(trial.module.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True, map_location=trial.device)
    other = trial.awake(seed=1)
    other.load_state_dict(state, strict=True)
    require_equal(trial.infer(other, trial.args), trial.output, "a module of another seed with the loaded state")
    return f"{len(state)} entries"


def deep_copy(trial: Trial) -> str:
    """A deep copy (an EMA, a teacher) gives the same bits, and changing it leaves the original alone."""
    original = trial.awake()
    _require_independent_copy(trial, original, copy.deepcopy(original), "a deep copy")
    return ""


def pickling(trial: Trial) -> str:
    """A pickled module (sent to a spawned process) gives the same bits."""
    original = trial.awake()
    try:
        content = pickle.dumps(original)
    except Exception as error:  # pickling runs the target's own code
        raise Failed(f"cannot be pickled: {first_line(error)}") from error
    _require_independent_copy(trial, original, pickle.loads(content), "the unpickled module")
    return f"{len(content):,} bytes"


def _require_independent_copy(trial: Trial, original: nn.Module, copied: nn.Module, what: str) -> None:
    require_equal(trial.infer(copied, trial.args), trial.output, what)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    require_equal(trial.infer(original, trial.args), trial.output, f"the original after {what} was changed")
