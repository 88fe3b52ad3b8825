"""Cost, latency, memory and effective receptive fields of convolution blocks.

The public names are imported when they are first used, so that ``import convbench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily
from convbench.registry import register
from convbench.version import __version__

if TYPE_CHECKING:
    from convbench.api import compare, erf, plot_erf, profile
    from convbench.measures.erf.settings import ErfSettings
    from convbench.measures.latency.settings import LatencySettings
    from convbench.plugging.host import plug
    from convbench.records import Record
    from convbench.sweeping import sweep
    from convbench.target.blueprint import build
    from convbench.target.transforms import fuse, refocus

__all__ = [
    "ErfSettings",
    "LatencySettings",
    "Record",
    "__version__",
    "build",
    "compare",
    "erf",
    "fuse",
    "plot_erf",
    "plug",
    "profile",
    "refocus",
    "register",
    "sweep",
]

__getattr__ = lazily(
    __name__,
    {
        "target.blueprint": "build",
        "target.transforms": "fuse refocus",
        "api": "compare erf plot_erf profile",
        "measures.erf.settings": "ErfSettings",
        "measures.latency.settings": "LatencySettings",
        "records": "Record",
        "plugging.host": "plug",
        "sweeping": "sweep",
    },
)
