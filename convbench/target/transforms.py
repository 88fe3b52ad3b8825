"""Changes made to a whole module before it is measured, found through the entry-point group ``convbench.transforms``.

A transform is a function ``nn.Module -> nn.Module``; ``refocus`` and ``fuse`` come with the blocks.
"""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points

from torch import nn

from convbench.errors import OptionError, UnknownNameError, nearest

GROUP = "convbench.transforms"


def refocus(module: nn.Module) -> nn.Module:
    """A copy of ``module`` with its k×k convolutions replaced by RefConv, which hold their weights.

    Raises OptionError where there are none.
    """
    return apply_transform(module, "refocus")


def fuse(module: nn.Module) -> nn.Module:
    """A copy of ``module`` with every re-parameterised layer folded into the plain one that it amounts to.

    Raises OptionError where there is none.
    """
    return apply_transform(module, "fuse")


def apply_transform(module: nn.Module, name: str) -> nn.Module:
    """The transformed module.

    Raises UnknownNameError, and OptionError when the transform refuses the module or finds nothing in it to change.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UnknownNameError(
            f"no transform is called {name!r}.{nearest(name, points)} There are: {', '.join(points)}"
        )
    before = _kinds(module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it changes nothing is an error here, said below
            transformed = points[name].load()(module)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from error
    assert isinstance(transformed, nn.Module)
    if _kinds(transformed) == before:
        reason = _CHANGES.get(name, "it found nothing to change")
        raise OptionError(f"{name} changes nothing in {type(module).__name__}: {reason}")
    return transformed


_CHANGES = {
    "refocus": "it replaces square k×k convolutions without a bias, k odd and at least 3, padded with zeros",
    "fuse": "it folds RefConv layers, such as --refocus makes, and there are none",
}


def _kinds(module: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(path, type(part)) for path, part in module.named_modules()]
