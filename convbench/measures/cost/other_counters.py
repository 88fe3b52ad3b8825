"""What other counters say of a module: torch's FlopCounterMode and fvcore, each behind one function, each on a copy."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convbench.errors import UsageError
from convbench.execution.attention import attention_as_on
from convbench.execution.clone import Cloner, cloning
from convbench.execution.guard import isolated
from convbench.execution.step import Step
from convbench.execution.tensors import RealTensors
from convbench.measures.cost.amount import Shape
from convbench.measures.cost.result import Method
from convbench.measures.cost.rules.convolution import convolution_backward

GROUPS_IGNORED = "its formula for the gradient of a grouped convolution's weight is too large by the number of groups"
COMPLEX_AS_REAL = "it counts a complex multiply–accumulate as one; it is four real ones"


@dataclass(frozen=True, slots=True)
class TorchCounts:
    """FlopCounterMode's count by operator, halved to multiply–accumulates, and where its formulas are known to err.

    errors: for each operator, multiply–accumulates beyond the truth (negative: missing), and why.
    """

    macs: dict[str, int]
    errors: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class FvcoreCounts:
    """fvcore's count by operator in its own unit (one for each multiply–accumulate, and some for norms and resizing).

    unsupported: operators that it skipped, and how often they came.
    """

    flops: dict[str, int]
    unsupported: dict[str, int]


def torch_counts(
    module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], *,
    training: bool, input_grad: bool, method: Method,
) -> TorchCounts:  # fmt: skip
    """Run the module's clone, on the tensors that ``method`` names, under FlopCounterMode."""
    from torch.utils.flop_counter import FlopCounterMode

    auditor = _FormulaAuditor()
    with isolated(), cloning(method, values=True) as cloner:
        cloned = cloner.module(module)
        inputs, options = cloner.arguments((args, dict(kwargs)), training and input_grad)
        if not training:
            cloned.requires_grad_(False)  # its module tracker looks for gradients of parameters passed as inputs
        counter = FlopCounterMode(display=False, custom_mapping=auditor.formulas())
        with attention_as_on("cpu"), counter:
            Step(cloned, inputs, options, "training" if training else "inference").run()
    by_operator = counter.get_flop_counts().get("Global", {})
    macs = {f"aten::{packet.__name__}": flops // 2 for packet, flops in by_operator.items()}
    return TorchCounts(macs, auditor.errors)


class _FormulaAuditor:
    """FlopCounterMode's own formulas, unchanged, with a note of what they get wrong at each call."""

    def __init__(self) -> None:
        self.errors: dict[str, tuple[int, str]] = {}

    def formulas(self) -> dict[Any, Callable[..., int]]:
        from torch.utils.flop_counter import flop_registry

        aten = torch.ops.aten
        audited = dict.fromkeys((aten.mm, aten.bmm, aten.addmm, aten.baddbmm), self._for_complex)
        audited[aten.convolution_backward] = self._for_groups
        return {packet: self._audited(packet, flop_registry[packet], audit) for packet, audit in audited.items()}

    def _audited(
        self, packet: Any, formula: Callable[..., int], audit: Callable[[tuple[Any, ...], int], tuple[int, str]]
    ) -> Callable[..., int]:
        name = f"aten::{packet.__name__}"

        def counted(*call: Any, out_val: Any = None, **options: Any) -> int:
            flops = int(formula(*call, out_val=out_val, **options))
            error, reason = audit(call, flops // 2)
            if error:
                self.errors[name] = self.errors.get(name, (0, ""))[0] + error, reason
            return flops

        counted._get_raw = True  # type: ignore[attr-defined]
        return counted

    @staticmethod
    def _for_groups(call: tuple[Any, ...], macs: int) -> tuple[int, str]:
        shapes: list[Any] = [Shape.of(item) if isinstance(item, Tensor) else item for item in call]
        return macs - convolution_backward(*shapes, out=None).macs, GROUPS_IGNORED

    @staticmethod
    def _for_complex(call: tuple[Any, ...], macs: int) -> tuple[int, str]:
        return (-3 * macs if call[-1].is_complex() else 0), COMPLEX_AS_REAL


def fvcore_counts(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> FvcoreCounts:
    """Trace a copy of the module on the CPU with fvcore; meta weights and inputs become zeros.

    fvcore traces with TorchScript, which is deprecated; everything that depends on it is in this function.
    Raises whatever the tracer raises; UsageError for keyword arguments, which fvcore does not take.
    """
    if kwargs:
        raise UsageError("fvcore takes positional arguments only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of deprecated parts of torch, once imported
        from fvcore.nn import FlopCountAnalysis
    loggers = [logging.getLogger(name) for name in ("fvcore", "fvcore.nn.jit_analysis")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with isolated(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            cloner = Cloner(_OnCpu())
            analysis = FlopCountAnalysis(cloner.module(module), cloner.arguments(args))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
            counts, skipped = analysis.by_operator(), analysis.unsupported_ops()
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return FvcoreCounts(
        {name: int(count) for name, count in counts.items()}, {name: int(count) for name, count in skipped.items()}
    )


class _OnCpu(RealTensors):
    """Copies of the values on the CPU; zeros for a meta tensor."""

    def copy(self, tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        return super().copy(tensor).cpu()
