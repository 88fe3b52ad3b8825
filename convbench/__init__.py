"""Cost, latency, memory and effective receptive fields of convolution blocks.

The public names are imported when they are first used, so that ``import convbench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily
from convbench.registry import register

if TYPE_CHECKING:
    from convbench.api import compare, erf, profile
    from convbench.sweeps.api import sweep
    from convbench.target.blueprint import build

__version__ = "0.1.0"
__all__ = ["__version__", "build", "compare", "erf", "profile", "register", "sweep"]

__getattr__ = lazily(__name__, {"target.blueprint": "build", "api": "compare erf profile", "sweeps.api": "sweep"})
