"""Checks of calling a module: finite outputs and gradients, independence, repeatability, modes."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import torch
from torch import Tensor, nn

from convbench.verify.agreement import relative_difference, require_close, require_equal, shapes_of, tensors_in
from convbench.verify.result import Failed, NotApplicable
from convbench.verify.trial import Trial, call, step

_TOLERANCE = 1e-4
_SHOWN = 3
_LINE = 240


def forward(trial: Trial) -> str:
    """Every floating output is finite, at initialisation and with every parameter moved off it."""
    for state, module in (("at initialisation", trial.fresh()), ("with every parameter moved", trial.module)):
        outputs = tensors_in(trial.infer(module, trial.args))
        for tensor in outputs:
            if tensor.is_floating_point() and not tensor.isfinite().all():
                count = int((~tensor.isfinite()).sum())
                raise Failed(f"{count:,} of {tensor.numel():,} output elements are not finite {state}")
    return f"{shapes_of(list(trial.args))} → {shapes_of(outputs)}"


def backward(trial: Trial) -> str:
    """One training step: parameters and input get gradients; all are finite, and some parameter's is not zero."""
    module, note = trial.fresh(), ""
    try:
        inputs = step(module.train(), trial.args)[1]
    except (TypeError, ValueError, AssertionError) as error:
        # Detectors and segmenters want targets in training mode.
        note = f"in eval mode, because training mode wants more than the input ({first_line(error)})"
        module = trial.fresh()
        inputs = step(module, trial.args)[1]
    trainable = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    _require_finite({**trainable, **{f"input {index}": grad for index, grad in enumerate(inputs)}})
    if any(grad is None for grad, arg in zip(inputs, trial.args, strict=True) if arg.is_floating_point()):
        raise Failed("the input gets no gradient")
    reached = [grad for grad in trainable.values() if grad is not None]
    if trainable and not any(bool(grad.any()) for grad in reached):
        raise Failed("no parameter learns: every gradient is zero")
    missing = [name for name, grad in trainable.items() if grad is None]
    return "; ".join(filter(None, (note, f"{named(missing)} without a gradient" if missing else "")))


def _require_finite(gradients: dict[str, Tensor | None]) -> None:
    wrong = [name for name, grad in gradients.items() if grad is not None and not grad.isfinite().all()]
    if wrong:
        raise Failed(f"gradients that are not finite: {named(wrong)}")


def batch_independence(trial: Trial) -> str:
    """A sample alone, and beside others a thousand times larger, gives the same output in eval mode."""
    one, other = trial.draw(seed=2, batch=1), trial.draw(seed=3, batch=1)
    alone = trial.infer(trial.module, one)
    together = trial.infer(trial.module, trial.beside(one, other))
    tensors = tensors_in(together)
    if any(tensor.dim() == 0 or tensor.shape[0] != 2 for tensor in tensors):
        raise NotApplicable(f"the outputs {shapes_of(tensors)} have no batch dimension")
    difference = require_close([tensor[:1] for tensor in tensors], alone, trial.tolerance, "beside another sample")
    return apart(difference)


def determinism(trial: Trial) -> str:
    """Same seed, same input: the same bits, from two calls, two builds and two training steps."""
    require_equal(trial.infer(trial.module, trial.args), trial.output, "a second call")
    require_equal(trial.infer(trial.awake(), trial.args), trial.output, "a second module of the same seed")
    module = trial.awake().train()
    try:
        first = call(module, trial.args, seed=5)
        require_equal(call(module, trial.args, seed=5), first, "a second call of the same seed in training mode")
    except (TypeError, ValueError, AssertionError) as error:
        return f"training mode wants more than the input ({first_line(error)})"
    return ""


def eval_train(trial: Trial) -> str:
    """Both modes give the same once batch norm, dropout and stochastic depth are held in eval mode."""
    module = trial.awake()
    switching = [(name, layer) for name, layer in module.named_modules() if _depends_on_mode(layer)]
    module.train()
    for _, layer in switching:
        layer.eval()
    try:
        output = trial.infer(module, trial.args)
    except (TypeError, ValueError, AssertionError) as error:
        raise NotApplicable(f"training mode wants more than the input ({first_line(error)})") from error
    given, expected = shapes_of(tensors_in(output)), shapes_of(tensors_in(trial.output))
    if given != expected:
        raise NotApplicable(f"training mode gives other outputs: {given} for {expected}")
    difference = require_close(output, trial.output, _TOLERANCE, "training mode")
    kinds = sorted({type(layer).__name__ for _, layer in switching})
    return "; ".join(filter(None, (apart(difference), f"but for {', '.join(kinds)}" if kinds else "")))


def _depends_on_mode(layer: nn.Module) -> bool:
    """Layers whose purpose is to differ between the modes, by type and, where a library has its own, by name."""
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return bool(layer.track_running_stats)
    if isinstance(layer, nn.modules.dropout._DropoutNd | nn.RReLU):
        return True
    named_so = re.search(r"drop|stochastic_?depth|batch_?norm", type(layer).__name__, re.IGNORECASE)
    return named_so is not None and not any(layer.children())


def keeps_input(trial: Trial) -> str:
    """A module that writes into its input corrupts a shortcut around it."""
    kept = [arg.clone() for arg in trial.args]
    with torch.no_grad():
        trial.module(*kept)
    if relative_difference(kept, list(trial.args), "the input after the call") > 0:
        raise Failed("the call writes into its input: a shortcut around the module would see the change")
    return ""


def apart(difference: float) -> str:
    """``equal to 1.2e-07``, the remark on a pass."""
    return "equal to the bit" if difference == 0 else f"equal to {difference:.1e}"


def named(names: list[str]) -> str:
    """``3: a, b, c`` with the count in front and the rest cut."""
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"


def first_line(error: Any) -> str:
    """Type and first line of an exception, with the next where that ends in a colon, cut where it runs on."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    shown = " ".join(lines[: 2 if lines and lines[0].rstrip().endswith(":") else 1])
    name = type(error).__name__
    return f"{name}: {textwrap.shorten(shown, _LINE, placeholder=' …')}" if shown else name
