"""Cost, latency, memory and effective receptive fields of convolution blocks.

The public names are imported when they are first used, so that ``import convbench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convbench.registry import register

if TYPE_CHECKING:
    from convbench.api import compare, erf, profile
    from convbench.sweep.api import sweep
    from convbench.target.blueprint import build

__version__ = "0.1.0"
__all__ = ["__version__", "build", "compare", "erf", "profile", "register", "sweep"]

_LAZY = {
    "build": "convbench.target.blueprint",
    "compare": "convbench.api",
    "erf": "convbench.api",
    "profile": "convbench.api",
    "sweep": "convbench.sweep.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
