"""Which module an operator ran in: the module tree, a stack of running modules, and the owner of each autograd node."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves

_ACCUMULATE_GRAD = 2**64 - 1
"""Number of the autograd nodes that store a gradient: they come before all others, and belong to no module."""


def running_node() -> int | None:
    """Sequence number of the autograd node that is being evaluated, or None outside backward."""
    node = torch._C._current_autograd_node()
    return None if node is None else int(node._sequence_nr())


@dataclass(slots=True, eq=False)
class Node:
    """A place in the module tree; a module that is registered twice has a node at each place."""

    index: int
    path: str
    depth: int
    module: nn.Module
    parent: Node | None
    calls: int = 0
    output_shapes: tuple[tuple[int, ...], ...] = ()
    children: list[Node] = field(default_factory=list)

    def is_within(self, other: Node) -> bool:
        """Whether this place lies in the subtree of the other."""
        node: Node | None = self
        while node is not None and node.depth > other.depth:
            node = node.parent
        return node is other


class ModuleTree:
    """Follows a module's forward pass and knows, at any operator, the module that called it.

    In backward the module is found by the autograd node's sequence number: nodes are numbered in the order in which
    forward creates them, so each stretch of numbers belongs to the module that ran at that time. The hooks are global:
    those of a module of its own would switch the fast paths of attention layers off.

    A module held in two places is attributed to the place nearest the module that called it. Modules that belong to no
    place (made during the forward pass, kept in a plain list) count as part of their caller.
    """

    def __init__(self, root: nn.Module) -> None:
        self.nodes: list[Node] = []
        self._places: dict[int, list[Node]] = {}
        self._grow(root, "", None, frozenset())
        self.root = self.nodes[0]
        self.stack: list[Node] = []
        self._sequence: list[int] = []  # first autograd sequence number of each span …
        self._owners: list[Node] = []  # … and the node that ran in it

    def _grow(self, module: nn.Module, path: str, parent: Node | None, above: frozenset[int]) -> None:
        node = Node(len(self.nodes), path, parent.depth + 1 if parent else 0, module, parent)
        self.nodes.append(node)
        self._places.setdefault(id(module), []).append(node)
        if parent is not None:
            parent.children.append(node)
        for name, child in module._modules.items():
            if child is not None and id(child) not in above:
                self._grow(child, f"{path}.{name}" if path else name, node, above | {id(module)})

    def locate(self, module: nn.Module) -> Node | None:
        """The place of a module that is being called now."""
        places = self._places.get(id(module))
        if places is None:
            return None
        if len(places) == 1:
            return places[0]
        for caller in reversed(self.stack):
            for place in places:
                if place.is_within(caller):
                    return place
        return places[0]

    def owner_of(self, sequence: int) -> Node:
        """The module whose forward pass made the autograd node of this sequence number."""
        position = bisect_right(self._sequence, sequence) - 1
        return self._owners[position] if position >= 0 else self.root

    def running(self) -> Node:
        """The module that runs now, or whose forward is being differentiated now; a checkpoint runs modules again."""
        if self.stack:
            return self.stack[-1]
        sequence = running_node()
        return self.root if sequence in (None, _ACCUMULATE_GRAD) else self.owner_of(sequence or 0)

    def _mark(self) -> None:
        self._sequence.append(torch._C._autograd._get_sequence_nr())
        self._owners.append(self.stack[-1] if self.stack else self.root)

    def _enter(self, module: nn.Module, _args: object) -> None:
        node = self.locate(module) or (self.stack[-1] if self.stack else self.root)
        node.calls += node.module is module
        self.stack.append(node)
        self._mark()

    def _leave(self, module: nn.Module, _args: object, output: object) -> None:
        node = self.stack.pop()
        self._mark()
        if node.module is module:
            node.output_shapes = output_shapes(output)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow module calls; the hooks are global and go when the block ends, whatever happens in it."""
        handles = (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def output_shapes(output: object) -> tuple[tuple[int, ...], ...]:
    """Sizes of every tensor in a module's result."""
    if isinstance(output, Tensor):
        return (tuple(output.shape),)
    return tuple(tuple(leaf.shape) for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
