"""Cost, latency, memory and effective receptive fields of convolution blocks.

The public names are imported when they are first used, so that ``import convbench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily
from convbench.registry import register
from convbench.version import __version__

if TYPE_CHECKING:
    from convbench.api import compare, erf, profile
    from convbench.sweeping import sweep
    from convbench.target.blueprint import build

__all__ = ["__version__", "build", "compare", "erf", "profile", "register", "sweep"]

__getattr__ = lazily(__name__, {"target.blueprint": "build", "api": "compare erf profile", "sweeping": "sweep"})
