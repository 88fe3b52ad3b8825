"""From counted calls to figures: by operator, by module, in total, each adding up to the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from convbench.execution.modules import Node
from convbench.execution.tensors import registered_tensors
from convbench.measures.cost.amount import Shape
from convbench.measures.cost.counter import CostCounter, Entry
from convbench.measures.cost.execution import Pass
from convbench.measures.cost.provenance import storage_of
from convbench.measures.cost.result import Cost, Figures, Method, ModuleCost, OperatorCost, Uncounted
from convbench.measures.cost.table import Kind

_Sampling = Mapping[Node, tuple[int, int]]


def entry_figures(entry: Entry, calls: int) -> Figures:
    """The figures of ``calls`` equal calls."""
    _, price, independent, backward = entry
    macs = calls * price.macs
    return Figures(
        macs=macs,
        sampling_macs=calls * price.sampling_macs,
        flops=calls * price.flops,
        bytes_moved=calls * price.bytes_moved,
        padding_macs=calls * price.padding_macs,
        batch_independent_macs=macs if independent else 0,
        activations=calls * price.outputs[0].numel() if price.macs and not backward and price.outputs else 0,
    )


def assemble(module: nn.Module, done: Pass, *, training: bool, method: Method, reason: str | None) -> Cost:
    """The result of a pass over ``module`` (the clone that ran)."""
    counter, declared = done.counter, done.declarations
    operators = by_operator(counter, declared.sampling)
    modules = by_module(counter, declared.sampling)
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


def by_operator(counter: CostCounter, sampling: _Sampling) -> tuple[OperatorCost, ...]:
    """One row an operator (and standing), the costliest first; declared sampling has rows of its own."""
    rows: dict[tuple[str, Kind], tuple[Figures, int]] = {}

    def add(name: str, kind: Kind, figures: Figures, calls: int) -> None:
        known, before = rows.get((name, kind), (Figures(), 0))
        rows[name, kind] = known + figures, before + calls

    for entry, calls in counter.calls.items():
        add(entry[1].operator.name, entry[1].kind, entry_figures(entry, calls), calls)
    for node, (macs, calls) in sampling.items():
        add(f"{type(node.module).__name__}.sampling_macs", Kind.EXACT, Figures(sampling_macs=macs), calls)
    costs = [
        OperatorCost(**figures.values(), name=name, kind=kind, calls=calls)
        for (name, kind), (figures, calls) in rows.items()
    ]
    return tuple(
        sorted(costs, key=lambda cost: (-cost.macs, -cost.sampling_macs, -cost.flops, -cost.bytes_moved, cost.name))
    )


def by_module(counter: CostCounter, sampling: _Sampling) -> tuple[ModuleCost, ...]:
    """Every place of the tree in registration order, its own figures and those of its subtree."""
    nodes = counter.tree.nodes
    own = [Figures() for _ in nodes]
    for entry, calls in counter.calls.items():
        own[entry[0].index] += entry_figures(entry, calls)
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
