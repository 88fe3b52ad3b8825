"""Checks of memory formats and of half precision under autocast."""

from __future__ import annotations

import torch

from convbench.verify.agreement import require_close, root_mean_square_difference, tensors_in
from convbench.verify.calls import apart
from convbench.verify.result import Failed, NotApplicable
from convbench.verify.trial import Trial, step

_ROUNDINGS = {torch.bfloat16: 0.1, torch.float16: 0.02}
"""Allowed difference in the root mean square: some 25 and 40 roundings of the dtype's own 2⁻⁸ and 2⁻¹¹."""
_FLIPPED = 0.01
"""Share of the output's elements that may be anything: a hard choice falls the other way in a few places."""
_MAGNIFIED = 5.0
"""Allowed multiple of what rounding weights and input alone brings, where a network magnifies that beyond the above."""


def channels_last(trial: Trial) -> str:
    """Same outputs and same gradients with module and input in channels_last; says which format comes out."""
    if not any(arg.dim() == 4 for arg in trial.args):
        raise NotApplicable("no input is an image")
    plain, other = trial.awake(), trial.awake().to(memory_format=torch.channels_last)
    args = [arg.contiguous(memory_format=torch.channels_last) if arg.dim() == 4 else arg for arg in trial.args]
    output, input_grads = step(other, args)
    expected, expected_grads = step(plain, trial.args)
    differences = [
        require_close(trial.infer(other, args), trial.output, trial.tolerance, "channels_last inference"),
        require_close(output, expected, trial.tolerance, "channels_last training"),
        require_close(input_grads, expected_grads, trial.tolerance, "the input's gradient in channels_last"),
    ]
    images = [tensor for tensor in tensors_in(output) if tensor.dim() == 4 and min(tensor.shape[1:]) > 1]
    kept = all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in images)
    given = f", output in {'channels_last too' if kept else 'another format'}" if images else ""
    return apart(max(differences)) + given


def autocast_bf16(trial: Trial) -> str:
    """Forward and backward under autocast to bfloat16; the outputs stay within 10% of those in float32."""
    return _autocast(trial, torch.bfloat16, backward=True)


def autocast_fp16(trial: Trial) -> str:
    """Forward under autocast to float16, and backward where that is trained in; within 2% of float32."""
    return _autocast(trial, torch.float16, backward=trial.device != "cpu")


def _autocast(trial: Trial, dtype: torch.dtype, *, backward: bool) -> str:
    module = trial.awake()
    with torch.autocast(trial.device.partition(":")[0], dtype):
        outputs = tensors_in(trial.infer(module, trial.args))
        learned = tensors_in(step(module, trial.args)[0]) if backward else []
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise Failed("a gradient is not finite")
    if not all(tensor.isfinite().all() for tensor in [*outputs, *learned]):
        raise Failed("an output is not finite")
    worst = root_mean_square_difference([*outputs, *learned], [trial.output] * (2 if backward else 1), _FLIPPED)
    by_rounding = trial.sensitivity(dtype)
    allowed = max(_ROUNDINGS[dtype], _MAGNIFIED * by_rounding)
    if not worst <= allowed:
        raise Failed(
            f"differs from float32 by {worst:.1%} in the root mean square (allowed: {allowed:.0%}); rounding weights "
            f"and input alone gives {by_rounding:.1%}"
        )
    magnified = f"; rounding weights and input alone gives {by_rounding:.1%}" if worst > _ROUNDINGS[dtype] else ""
    return f"{worst:.2%} from float32{magnified}" + ("" if backward else ", inference only")
