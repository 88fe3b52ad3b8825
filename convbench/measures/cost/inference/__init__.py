"""Results of common operators on meta tensors, without running them.

torch's own meta kernels of element-wise operators, norms, means and concatenations are written in Python: the first
one imports torch._dynamo (seconds), and each takes tens to hundreds of microseconds. Every function here gives the
result's sizes, strides and dtype in the plain cases (one floating dtype, valid sizes) and None in all others, which
then go to torch: for an error message, a type promotion, an odd layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from convbench.measures.cost.inference import attention, normalization, structured
from convbench.measures.cost.inference.layouts import Result
from convbench.measures.cost.inference.pointwise import POINTWISE, first_tensor, pointwise, pointwise_in_place, where

_OVERWRITES = frozenset(
    f"aten::{name}_"
    for name in [
        "zero",
        "fill",
        "bernoulli",
        "uniform",
        "normal",
        "random",
        "exponential",
        "log_normal",
        "cauchy",
        "geometric",
    ]
)


_INFERENCES: dict[str, Callable[..., Result]] = {
    **normalization.INFERENCES, **structured.INFERENCES, **attention.INFERENCES, "where": where,
}  # fmt: skip


def infer(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    """The result of the operator ``namespace::name`` on meta tensors, or None where torch has to say."""
    namespace, _, base = name.partition("::")
    if namespace != "aten":
        return None
    if name in _OVERWRITES:
        return first_tensor(args)
    if base in POINTWISE:
        return pointwise(base, args, kwargs)
    if base.endswith("_") and base[:-1] in POINTWISE:
        return pointwise_in_place(base[:-1], args, kwargs)
    special = _INFERENCES.get(base)
    return special(*args, **kwargs) if special is not None else None
