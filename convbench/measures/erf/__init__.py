"""Effective receptive fields: maps of how much each input pixel moves one output pixel, and figures of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.lazy import lazily

if TYPE_CHECKING:
    from convbench.measures.erf.inputs import Given, ImageFolder, Inputs, Noise, inputs_from
    from convbench.measures.erf.measure import measure_erf
    from convbench.measures.erf.metrics import measure_map
    from convbench.measures.erf.result import (
        NOTHING_TO_RAISE,
        Box,
        Erf,
        ErfMetrics,
        Interval,
        RadialProfile,
        RepLKNetFigures,
        Uncertainty,
    )
    from convbench.measures.erf.settings import ErfSettings

__all__ = [
    "NOTHING_TO_RAISE",
    "Box",
    "Erf",
    "ErfMetrics",
    "ErfSettings",
    "Given",
    "ImageFolder",
    "Inputs",
    "Interval",
    "Noise",
    "RadialProfile",
    "RepLKNetFigures",
    "Uncertainty",
    "inputs_from",
    "measure_erf",
    "measure_map",
]

__getattr__ = lazily(
    __name__,
    {
        "result": "NOTHING_TO_RAISE Box Erf ErfMetrics Interval RadialProfile RepLKNetFigures Uncertainty",
        "settings": "ErfSettings",
        "inputs": "Given ImageFolder Inputs Noise inputs_from",
        "measure": "measure_erf",
        "metrics": "measure_map",
    },
)
