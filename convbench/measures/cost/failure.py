"""Why a network refused its input: the layer that failed and the shape that reached it."""

from __future__ import annotations

from types import TracebackType

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convbench.errors import ConvbenchError, OutOfMemory, ShapeError, TargetError
from convbench.execution.modules import ModuleTree
from convbench.execution.out_of_memory import is_out_of_memory

_REJECTIONS = (RuntimeError, ValueError, AssertionError, IndexError, TypeError, NotImplementedError)
_EXPECTS = {"in_channels": "channels", "in_features": "features in the last dimension", "num_features": "channels"}


def explain(error: Exception, tree: ModuleTree, inputs: tuple[Tensor, ...]) -> ConvbenchError:
    """The error to raise instead: which layer, what reached it, what it said."""
    if isinstance(error, ConvbenchError):
        return error
    said = " ".join(str(error).split()) or type(error).__name__
    if is_out_of_memory(error):
        return OutOfMemory(f"no memory left for a real run: {said}; count it on a smaller input")
    given = _shapes(inputs)
    layer, arrived = _innermost(error.__traceback__, tree)
    kind = type(layer).__name__ if layer is not None else "the module"
    path = next((node.path for node in tree.nodes if node.module is layer), "")
    where = f"layer {path!r} ({kind})" if path else kind
    message = f"{where} failed on {_shapes(arrived)} when the network was given {given}: {said}{_advice(layer)}"
    if isinstance(error, _REJECTIONS):
        return ShapeError(message)
    return TargetError(f"{message} [{type(error).__name__}]")


def _innermost(traceback: TracebackType | None, tree: ModuleTree) -> tuple[nn.Module | None, tuple[object, ...]]:
    """The last module of the tree that was being called, and the arguments of that call."""
    known = {id(node.module) for node in tree.nodes}
    layer: nn.Module | None = None
    arrived: tuple[object, ...] = ()
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "_call_impl":
            module = frame.f_locals.get("self")
            if id(module) in known and isinstance(module, nn.Module):
                layer = module
                arrived = (*frame.f_locals.get("args", ()), *frame.f_locals.get("kwargs", {}).values())
        traceback = traceback.tb_next
    return layer, arrived


def _shapes(values: object) -> str:
    shapes = [str(tuple(leaf.shape)) for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return ", ".join(shapes) or "no tensor"


def _advice(layer: nn.Module | None) -> str:
    for name, what in _EXPECTS.items():
        expected = getattr(layer, name, None)
        if isinstance(expected, int):
            return f" (this layer takes {expected} {what})"
    return ""
