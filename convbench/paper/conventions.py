"""What publications mean by the cost of a network: a name, and the count that it stands for.

``MACs of conv and linear``: multiply–accumulates of convolutions, linear layers and matrix products, biases not
counted; where a network's algorithm needs fewer than its eager form executes (one filter a pixel), those it needs.

``MACs incl. BN, ReLU, pool elements``: the same, and for each batch norm two for every element (scale and shift), for
each ReLU one for every element, for each pooling layer one for every element that it reads. PyConv's printed figures
read so, to 0.2–1.0%: they stand a little above it, and without the elements 1–2% above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convbench.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convbench.target.blueprint import Subject

Convention = Callable[["Subject"], int]


def find_convention(name: str) -> Convention:
    """The count that ``name`` stands for. Raises UsageError."""
    if name not in CONVENTIONS:
        known = "; ".join(CONVENTIONS)
        raise UsageError(f"no convention is called {name!r}.{nearest(name, CONVENTIONS)} There are: {known}")
    return CONVENTIONS[name]


def _conv_and_linear(subject: Subject) -> int:
    from convbench.measures.cost import measure_cost

    cost = measure_cost(subject.module, subject.args)
    return cost.macs if cost.algorithmic_macs is None else cost.algorithmic_macs


def _with_elements(subject: Subject) -> int:
    return _conv_and_linear(subject) + count_elements(subject.module, subject.args)


def count_elements(module: nn.Module, args: tuple[Any, ...]) -> int:
    """Two for each element of a batch norm, one for each of a ReLU and for each that a pooling layer reads."""
    import torch

    counts: list[int] = []
    with _counting(module, counts), torch.no_grad():
        module(*args)
    return sum(counts)


@contextmanager
def _counting(module: nn.Module, counts: list[int]) -> Iterator[None]:
    handles = [
        layer.register_forward_hook(lambda _, args, output, weight=weight: counts.append(weight(args[0], output)))
        for layer in module.modules()
        if (weight := _weight_of(layer)) is not None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weight_of(layer: nn.Module) -> Callable[[Tensor, Tensor], int] | None:
    from torch import nn

    pools = nn.modules.pooling._MaxPoolNd | nn.modules.pooling._AvgPoolNd | nn.modules.pooling._AdaptiveAvgPoolNd
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return lambda read, written: 2 * written.numel()
    if isinstance(layer, nn.ReLU | nn.ReLU6):
        return lambda read, written: written.numel()
    if isinstance(layer, pools):
        return lambda read, written: read.numel()
    return None


CONVENTIONS: dict[str, Convention] = {
    "MACs of conv and linear": _conv_and_linear,
    "MACs incl. BN, ReLU, pool elements": _with_elements,
}
