"""Running what torch would compile as it is written, so that a dispatch mode sees every operator in it.

``torch.cond``, ``while_loop``, ``scan``, ``map``, ``switch``, ``associative_scan`` and ``flex_attention`` compile their
bodies even in eager code, which fails under a dispatch mode with the compiler's traceback. Meanwhile ``torch.compile``
gives back what it was given, and such an operator runs its bodies, above autograd, which differentiates them as usual.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch._ops import HigherOrderOperator


@contextmanager
def as_written(*, on_shapes: bool = False) -> Iterator[None]:
    """Compiled functions run eagerly, control flow through its bodies.

    on_shapes: whether nothing but shapes is given, so that no device is there to refuse what it cannot run.
    """
    # Functions that were compiled before; if nothing was, there is no need to import the compiler.
    earlier = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    compiling: Any = torch.compile
    calling: Any = HigherOrderOperator.__call__

    def call(operator: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
        body = _BODIES.get(operator.name())  # type: ignore[no-untyped-call]
        return body(operator, *args, **kwargs) if body is not None else calling(operator, *args, **kwargs)

    torch.compile = _uncompiled
    HigherOrderOperator.__call__ = call  # type: ignore[method-assign]
    flex: Any = sys.modules.get("torch.nn.attention.flex_attention") if on_shapes else None
    validating = getattr(flex, "_validate_device", None)
    if validating is not None:
        flex._validate_device = lambda *_: None
    try:
        with earlier, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
            yield
    finally:
        if validating is not None:
            flex._validate_device = validating
        torch.compile = compiling
        HigherOrderOperator.__call__ = calling  # type: ignore[method-assign]


def _uncompiled(model: Any = None, **_options: Any) -> Any:
    return model if model is not None else (lambda function: function)


def _cond(_operator: object, condition: Any, if_true: Any, if_false: Any, operands: Sequence[Any] = ()) -> Any:
    """The branch that the values choose."""
    return (if_true if bool(condition) else if_false)(*operands)


def _switch(_operator: object, index: Any, branches: Sequence[Any], operands: Sequence[Any] = ()) -> Any:
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def _while_loop(
    _operator: object, condition: Any, body: Any, carried: Sequence[Any], more: Sequence[Any] = (), **_options: Any
) -> Any:
    while bool(condition(*carried, *more)):
        carried = body(*carried, *more)
    return tuple(carried)


def _scan(
    _operator: object, combine: Any, init: Sequence[Any], xs: Sequence[Any], more: Sequence[Any] = (), **_options: Any
) -> Any:
    """Every slice is combined with what is carried; the results are stacked."""
    carried, results = list(init), []
    for index in range(xs[0].shape[0]):
        out = list(combine(*carried, *(x.select(0, index) for x in xs), *more))
        carried = out[: len(init)]
        results.append(out[len(init) :])
    return (*carried, *(torch.stack(column) for column in zip(*results, strict=True)))


def _map(_operator: object, function: Any, xs: Sequence[Any], more: Sequence[Any] = (), **_options: Any) -> Any:
    """The function of every slice; the results are stacked."""
    from torch.utils._pytree import tree_map

    results = [function(*slices, *more) for slices in zip(*(x.unbind(0) for x in xs), strict=True)]
    return tree_map(lambda *column: torch.stack(column), *results)


def _flex(operator: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    """The eager kernel. It keeps no scores for the backward pass, which forms Q·Kᵀ once more, and neither does this."""
    if not torch.is_grad_enabled():
        return _dense(operator, *args, **kwargs)
    from torch.utils.checkpoint import checkpoint

    return checkpoint(partial(_dense, operator), *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _dense(operator: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    """The operator's own eager kernel, which calls the bodies."""
    return operator.py_kernels[torch._C.DispatchKey.CompositeExplicitAutograd](*args, **kwargs)


_BODIES: dict[str, Callable[..., Any]] = {
    "cond": _cond, "switch": _switch, "while_loop": _while_loop, "scan": _scan, "map_impl": _map,
    "associative_scan": _dense, "flex_attention": _flex,
}  # fmt: skip
