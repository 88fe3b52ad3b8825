"""Checks of memory formats and of half precision under autocast."""

from __future__ import annotations

import torch

from convbench.verify.agreement import require_close, tensors_in
from convbench.verify.calls import apart
from convbench.verify.result import Failed, NotApplicable
from convbench.verify.trial import Trial, step

_TOLERANCE = 1e-4
_AUTOCAST_TOLERANCE = {torch.bfloat16: 0.1, torch.float16: 0.02}
"""Relative to the output in the root mean square: some 25 and 40 roundings of the dtype's own 2⁻⁸ and 2⁻¹¹."""


def channels_last(trial: Trial) -> str:
    """Same outputs and same gradients with module and input in channels_last; says which format comes out."""
    if not any(arg.dim() == 4 for arg in trial.args):
        raise NotApplicable("no input is an image")
    plain, other = trial.awake(), trial.awake().to(memory_format=torch.channels_last)
    args = [arg.contiguous(memory_format=torch.channels_last) if arg.dim() == 4 else arg for arg in trial.args]
    output, input_grads = step(other, args)
    expected, expected_grads = step(plain, trial.args)
    differences = [
        require_close(trial.infer(other, args), trial.output, _TOLERANCE, "channels_last inference"),
        require_close(output, expected, _TOLERANCE, "channels_last training"),
        require_close(input_grads, expected_grads, _TOLERANCE, "the input's gradient in channels_last"),
    ]
    images = [tensor for tensor in tensors_in(output) if tensor.dim() == 4 and min(tensor.shape[1:]) > 1]
    kept = all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in images)
    given = f", output in {'channels_last too' if kept else 'another format'}" if images else ""
    return apart(max(differences)) + given


def autocast_bf16(trial: Trial) -> str:
    """Forward and backward under autocast to bfloat16; the outputs stay within 10% of those in float32."""
    return _autocast(trial, torch.bfloat16)


def autocast_fp16(trial: Trial) -> str:
    """Forward and backward under autocast to float16; the outputs stay within 2% of those in float32."""
    return _autocast(trial, torch.float16)


def _autocast(trial: Trial, dtype: torch.dtype) -> str:
    kind = trial.device.partition(":")[0]
    module = trial.awake()
    with torch.autocast(kind, dtype):
        outputs = tensors_in(trial.infer(module, trial.args))
        learned, _ = step(module, trial.args)
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise Failed("a gradient is not finite")
    errors = []
    for what, tensors in (("without gradients", outputs), ("with gradients", tensors_in(learned))):
        for tensor, expected in zip(tensors, tensors_in(trial.output), strict=True):
            if not tensor.isfinite().all():
                raise Failed(f"an output is not finite {what}")
            norm = float(expected.double().norm())
            errors.append(float((tensor.detach().double() - expected.double()).norm()) / (norm or 1.0))
    worst, allowed = max(errors, default=0.0), _AUTOCAST_TOLERANCE[dtype]
    if not worst <= allowed:
        raise Failed(f"differs from float32 by {worst:.1%} in the root mean square (allowed: {allowed:.0%})")
    return f"{worst:.2%} from float32"
