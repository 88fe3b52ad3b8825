"""Changes made to a whole module before it is measured, found through the entry-point group ``convbench.transforms``.

A transform is a function ``nn.Module -> nn.Module``; ``refocus`` and ``fuse`` come with the blocks.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from torch import nn

from convbench.errors import OptionError, UnknownNameError, nearest

GROUP = "convbench.transforms"


def apply_transform(module: nn.Module, name: str) -> nn.Module:
    """The transformed module. Raises UnknownNameError, and OptionError when the transform refuses the module."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UnknownNameError(
            f"no transform is called {name!r}.{nearest(name, points)} There are: {', '.join(points)}"
        )
    try:
        transformed = points[name].load()(module)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from error
    assert isinstance(transformed, nn.Module)
    return transformed
