"""Two other counters on the same case, and why each of their figures differs where it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from convbench.errors import ConvbenchError
from convbench.measures.cost.measure import measure_cost, measure_really
from convbench.measures.cost.measure import run as measure
from convbench.measures.cost.other_counters import FvcoreCounts, fvcore_counts, torch_counts
from convbench.measures.cost.reconciliation import UNEXPLAINED, Difference, Reconciliation, ToolCheck
from convbench.measures.cost.result import Cost
from convbench.target.blueprint import Subject

_FVCORE_PRODUCTS = frozenset(("linear", "addmm", "mm", "matmul", "bmm", "einsum"))
_FVCORE_BESIDES = {
    "batch_norm": "it counts normalisation as well; here that is in flops, not in macs",
    "layer_norm": "it counts normalisation as well; here that is in flops, not in macs",
    "group_norm": "it counts normalisation as well; here that is in flops, not in macs",
    "instance_norm": "it counts normalisation as well; here that is in flops, not in macs",
    "adaptive_avg_pool2d": "it counts pooling as well; here that is in flops, not in macs",
    "upsample_nearest2d": "it counts resizing as well; here nearest neighbours cost nothing",
    "upsample_bilinear2d": "it counts resizing as well; here that is in flops, not in macs",
    "grid_sampler": "it counts sampling as well; here that is in sampling_macs, not in macs",
}
_HAS_PRODUCTS = (
    "aten::scaled_dot_product_attention", "aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu",
    "aten::lstm_cell", "aten::gru_cell", "aten::rnn_tanh_cell", "aten::rnn_relu_cell", "aten::mv", "aten::dot",
    "aten::vdot", "aten::addmv", "aten::addr", "aten::baddbmm", "aten::addbmm", "aten::bilinear",
    "aten::_native_multi_head_attention", "aten::_transformer_encoder_layer_fwd", "aten::tensordot",
    "aten::chain_matmul", "aten::linalg_multi_dot",
)  # fmt: skip


def run(subject: Subject, settings: None = None) -> Reconciliation:
    """The measure of a built case."""
    cost = measure(subject)
    return cross_check(subject.module, subject.args, cost, subject.kwargs, input_grad=subject.input_grad)


def cross_check(
    module: nn.Module, args: tuple[object, ...], cost: Cost, kwargs: Mapping[str, object] | None = None,
    *, input_grad: bool = True,
) -> Reconciliation:  # fmt: skip
    """Count the case of ``cost`` with torch's FlopCounterMode and with fvcore, on copies, and itemise the differences.

    FlopCounterMode runs on the tensors that convbench ran on; fvcore on the CPU, for it traces real tensors only, and
    no backward pass. A tool that fails is reported with its message, and nothing is raised for it.
    """
    options = kwargs or {}
    return Reconciliation(
        (_against_torch(module, args, options, cost, input_grad), _against_fvcore(module, args, options, cost))
    )


def _against_torch(
    module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], cost: Cost, input_grad: bool
) -> ToolCheck:
    tool = "torch FlopCounterMode"
    try:
        counts = torch_counts(
            module, args, kwargs, training=cost.training, input_grad=input_grad, method=cost.method
        )  # fmt: skip
    except Exception as error:  # another project's tool: whatever it raises is its answer
        return ToolCheck(tool, cost.macs, None, error=_said(error))
    ours = _by_name(cost)
    differences = []
    for name in {**ours, **counts.macs}:
        mine, other = ours.get(name, 0), counts.macs.get(name, 0)
        excess, reason = counts.errors.get(name, (0, UNEXPLAINED))
        if mine == other:
            continue
        if other == 0 and name not in counts.macs:
            reason = "it has no formula for this operator and counts nothing"
        elif other - mine != excess:
            reason = UNEXPLAINED
        differences.append(Difference(name, mine, other, reason))
    return ToolCheck(tool, cost.macs, sum(counts.macs.values()), tuple(differences))


def _against_fvcore(module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], cost: Cost) -> ToolCheck:
    tool = "fvcore FlopCountAnalysis"
    forward = measure_cost(module, args, kwargs) if cost.training else cost
    try:
        counts = fvcore_counts(module, args, kwargs)
    except Exception as error:  # its tracer is deprecated and refuses much: whatever it raises is its answer
        return ToolCheck(tool, forward.macs, None, error=_said(error))
    differences = [
        Difference(name, 0, count, _FVCORE_BESIDES.get(name, UNEXPLAINED))
        for name, count in counts.flops.items()
        if count and name != "conv" and name not in _FVCORE_PRODUCTS
    ]
    ours, theirs = _families(_by_name(forward)), _fvcore_families(counts)
    for family in ours:
        if ours[family] != theirs[family]:
            reason = _why_fvcore_differs(family, theirs[family], counts, module, args, kwargs)
            differences.append(Difference(family, ours[family], theirs[family], reason))
    return ToolCheck(tool, forward.macs, sum(counts.flops.values()), tuple(differences))


def _by_name(cost: Cost) -> dict[str, int]:
    macs: dict[str, int] = {}
    for operator in cost.operators:
        if operator.macs:
            macs[operator.name] = macs.get(operator.name, 0) + operator.macs
    return macs


def _families(macs: Mapping[str, int]) -> dict[str, int]:
    convolutions = sum(count for name, count in macs.items() if "conv" in name)
    return {"convolutions": convolutions, "products": sum(macs.values()) - convolutions}


def _fvcore_families(counts: FvcoreCounts) -> dict[str, int]:
    products = sum(count for name, count in counts.flops.items() if name in _FVCORE_PRODUCTS)
    return {"convolutions": counts.flops.get("conv", 0), "products": products}


def _why_fvcore_differs(
    family: str, theirs: int, counts: FvcoreCounts,
    module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object],
) -> str:  # fmt: skip
    opaque = _named(counts, (name for name in counts.unsupported if name.startswith("prim::PythonOp")))
    if opaque:
        return f"its tracer does not enter autograd functions: {opaque}"
    skipped = _named(
        counts,
        (name for name in counts.unsupported if name in _HAS_PRODUCTS or not name.startswith(("aten::", "prim::"))),
    )
    if skipped:
        return f"it has no formula for {skipped}"
    try:
        executed = _families(_by_name(measure_really(module, args, kwargs)))
    except ConvbenchError:
        return UNEXPLAINED
    if executed[family] == theirs:
        return "on the CPU, where it runs, the module takes another path than on meta tensors"
    return UNEXPLAINED


def _named(counts: FvcoreCounts, names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({counts.unsupported[name]} calls)" for name in sorted(names))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
