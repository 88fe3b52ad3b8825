"""From counted calls to figures: by operator, by module, in total, each adding up to the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from convbench.execution.modules import Node
from convbench.execution.tensors import registered_tensors
from convbench.measures.cost.amount import Shape
from convbench.measures.cost.counter import CostCounter, Entry
from convbench.measures.cost.execution import Pass
from convbench.measures.cost.provenance import Growth, storage_of
from convbench.measures.cost.result import Cost, Figures, Method, ModuleCost, OperatorCost, Uncounted
from convbench.measures.cost.table import Kind

_Sampling = Mapping[Node, tuple[int, int]]


def entry_figures(entry: Entry, calls: int) -> Figures:
    """The figures of ``calls`` equal calls."""
    _, price, _, backward = entry
    return Figures(
        macs=calls * price.macs,
        sampling_macs=calls * price.sampling_macs,
        flops=calls * price.flops,
        bytes_moved=calls * price.bytes_moved,
        padding_macs=calls * price.padding_macs,
        activations=calls * price.outputs[0].numel() if price.macs and not backward and price.outputs else 0,
    )


Group = tuple[int, str, Kind, bool]
"""Calls that are told apart: by place in the tree, operator and standing, forward or backward."""


def macs_by_group(counter: CostCounter, among: Collection[Growth] = tuple(Growth)) -> dict[Group, int]:
    """MACs of every group of calls, of those that grow as is asked."""
    groups: dict[Group, int] = {}
    for (node, price, growth, backward), calls in counter.calls.items():
        if price.macs and growth in among:
            group = (node.index, price.operator.name, price.kind, backward)
            groups[group] = groups.get(group, 0) + calls * price.macs
    return groups


def batch_independent(counter: CostCounter, doubled: Mapping[Group, int] | None) -> dict[Group, int]:
    """MACs that do not grow with the batch. doubled: those of the same call with twice the batch, where it was made.

    MACs are a + b·batch: twice their number less that of the doubled batch leaves a. What grows faster has none.
    """
    if doubled is None:
        return macs_by_group(counter, (Growth.NONE,))
    return {
        group: max(0, min(macs, 2 * macs - doubled.get(group, 0))) for group, macs in macs_by_group(counter).items()
    }


def assemble(
    module: nn.Module, done: Pass, *, training: bool, method: Method, reason: str | None,
    doubled: Mapping[Group, int] | None = None,
) -> Cost:  # fmt: skip
    """The result of a pass over ``module`` (the clone that ran). doubled: MACs with twice the batch, if needed."""
    counter, declared = done.counter, done.declarations
    independent = batch_independent(counter, doubled)
    operators = by_operator(counter, declared.sampling, independent)
    modules = by_module(counter, declared.sampling, independent)
    figures = sum(operators, Figures())
    in_backward = sum(calls * entry[1].macs for entry, calls in counter.calls.items() if entry[3])
    algorithmic = None if training and declared.algorithmic else figures.macs - declared.saved_macs
    growing = figures.macs - figures.batch_independent_macs
    batch = next((tensor.shape[0] for tensor in done.inputs if tensor.dim()), 1)
    return Cost(
        **figures.values(),
        algorithmic_macs=algorithmic,
        forward_macs=figures.macs - in_backward,
        backward_macs=in_backward,
        ideal_bytes=min(figures.bytes_moved, _least_traffic(module, done, training=training)),
        macs_per_sample=growing // batch if batch and growing % batch == 0 else growing / max(1, batch),
        uncounted=uncounted(operators, reason),
        operators=operators,
        modules=modules,
        training=training,
        method=method,
        reason=reason,
    )


def _least_traffic(module: nn.Module, done: Pass, *, training: bool) -> int:
    """Inputs, outputs, and the parameters and buffers that an operator read, each once; in training their gradients."""
    used = done.counter.provenance.used
    weights = [weight for weight in registered_tensors(module) if storage_of(weight) in used]
    tensors: list[Tensor] = [*done.inputs, *weights, *done.outputs]
    gradients = [tensor for tensor in tensors if training and tensor.requires_grad]
    return sum(Shape.of(tensor).nbytes for tensor in (*tensors, *gradients))


def by_operator(
    counter: CostCounter, sampling: _Sampling, independent: Mapping[Group, int]
) -> tuple[OperatorCost, ...]:
    """One row an operator (and standing), the costliest first; declared sampling has rows of its own."""
    rows: dict[tuple[str, Kind], tuple[Figures, int]] = {}

    def add(name: str, kind: Kind, figures: Figures, calls: int) -> None:
        known, before = rows.get((name, kind), (Figures(), 0))
        rows[name, kind] = known + figures, before + calls

    for entry, calls in counter.calls.items():
        add(entry[1].operator.name, entry[1].kind, entry_figures(entry, calls), calls)
    for (_, name, kind, _), macs in independent.items():
        add(name, kind, Figures(batch_independent_macs=macs), 0)
    for node, (macs, calls) in sampling.items():
        add(f"{type(node.module).__name__}.sampling_macs", Kind.EXACT, Figures(sampling_macs=macs), calls)
    costs = [
        OperatorCost(**figures.values(), name=name, kind=kind, calls=calls)
        for (name, kind), (figures, calls) in rows.items()
    ]
    return tuple(
        sorted(costs, key=lambda cost: (-cost.macs, -cost.sampling_macs, -cost.flops, -cost.bytes_moved, cost.name))
    )


def by_module(counter: CostCounter, sampling: _Sampling, independent: Mapping[Group, int]) -> tuple[ModuleCost, ...]:
    """Every place of the tree in registration order, its own figures and those of its subtree."""
    nodes = counter.tree.nodes
    own = [Figures() for _ in nodes]
    for entry, calls in counter.calls.items():
        own[entry[0].index] += entry_figures(entry, calls)
    for (index, _, _, _), macs in independent.items():
        own[index] += Figures(batch_independent_macs=macs)
    for node, (macs, _) in sampling.items():
        own[node.index] += Figures(sampling_macs=macs)
    totals = list(own)
    for node in reversed(nodes):  # children follow their parents
        if node.parent is not None:
            totals[node.parent.index] += totals[node.index]
    return tuple(
        ModuleCost(
            path=node.path,
            type=type(node.module).__name__,
            depth=node.depth,
            calls=node.calls,
            output_shapes=node.output_shapes,
            own=own[node.index],
            total=totals[node.index],
        )
        for node in nodes
    )


def uncounted(operators: Iterable[OperatorCost], reason: str | None) -> tuple[Uncounted, ...]:
    """The operators without a rule, by name; what numpy computes no operator shows, so it is one call of ``numpy``."""
    unknown = [Uncounted(cost.name, cost.calls) for cost in operators if cost.kind is Kind.UNKNOWN]
    if reason is not None and "numpy" in reason:
        unknown.append(Uncounted("numpy", 1))
    return tuple(sorted(unknown, key=lambda item: item.name))
