"""Why a network refused its input: the layer that failed and the shape that reached it."""

from __future__ import annotations

from types import TracebackType

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convbench.errors import ConvbenchError, OutOfMemory, ShapeError, TargetError
from convbench.execution.modules import ModuleTree
from convbench.execution.out_of_memory import is_out_of_memory

_REJECTIONS = (RuntimeError, ValueError, AssertionError, IndexError, TypeError)
_EXPECTS = {"in_channels": "channels", "in_features": "features in the last dimension", "num_features": "channels"}


def explain(
    error: Exception, tree: ModuleTree, inputs: tuple[Tensor, ...], *, in_backward: bool = False
) -> ConvbenchError:
    """The error to raise instead: which layer, what reached it, what it said."""
    if isinstance(error, ConvbenchError):
        return error
    said = " ".join(str(error).split()) or type(error).__name__
    if is_out_of_memory(error):
        return OutOfMemory(f"no memory left for a real run: {said}; count it on a smaller input")
    network, given = type(tree.root.module).__name__, _shapes(inputs)
    if in_backward:
        return TargetError(f"the backward pass of {network} fails on {given}: {said}")
    layer, arrived = _innermost(error.__traceback__, tree)
    path = next((node.path for node in tree.nodes if node.module is layer), "")
    where = f"{network} failed on {given}"
    if path:
        kind, reached = type(layer).__name__, _shapes(arrived)
        where = f"layer {path!r} ({kind}) failed on {reached}"
        where += f" when the network was given {given}" if reached != given else ""
    message = f"{where}: {said}{_advice(layer)}"
    if isinstance(error, _REJECTIONS) and not isinstance(error, NotImplementedError):
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
