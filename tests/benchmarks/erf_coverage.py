"""How often the intervals of a receptive field hold what repetition converges to, at default settings.

    python tests/benchmarks/erf_coverage.py [REPETITIONS]        200 unless given

Each repetition measures the same small network with other initialisations and other inputs, 8 × 32 as by default. What
they converge to is the figure of all their maps pooled, of every repetition: 1,600 initialisations of 32 inputs. The
same for one set of weights, of which only the inputs are drawn again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from convbench.measures.erf import Erf, ErfMetrics, ErfSettings, measure_erf, measure_map

FIGURES = ("sigma_px", "side_50_px", "agd", "kurtosis")
LEAST = 0.9
SHAPE = (1, 8, 40, 40)


def network(seed: int) -> nn.Module:
    """Three times a depthwise 5×5 convolution, ReLU and a 1×1 convolution, of 8 channels."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Drawn:
    """What is repeated. build: as for ``measure_erf``."""

    name: str
    build: Callable[[int], nn.Module] | nn.Module


def repeated(drawn: Drawn, count: int) -> tuple[list[Erf], ErfMetrics]:
    """The fields, and the figures of all their maps together."""
    default = ErfSettings()
    # Seeds of initialisations follow each other: repetitions lie further apart than one of them reaches.
    fields = [measure_erf(drawn.build, SHAPE, ErfSettings(seed=default.seeds * number)) for number in range(count)]
    return fields, measure_map(np.mean([field.map for field in fields], axis=0), fields[0].centre)


def report(drawn: Drawn, fields: Sequence[Erf], truth: ErfMetrics) -> bool:
    """Print one line a figure; whether every coverage is as high as wanted."""
    first = fields[0]
    print(f"{drawn.name}: {len(fields)} × {first.initialisations} initialisations × {first.samples} inputs")
    good = True
    for name in FIGURES:
        wanted = getattr(truth, name)
        intervals = [field.uncertainty.intervals[name] for field in fields]
        covered = float(np.mean([interval.low <= wanted <= interval.high for interval in intervals]))
        width = float(np.median([interval.high - interval.low for interval in intervals]))
        good &= covered >= LEAST
        print(
            f"  {name:12} converges to {wanted:8.4f}  median width {width:7.4f}  covered {covered:6.1%}  "
            f"≥ {LEAST:.0%}: {'yes' if covered >= LEAST else 'NO'}"
        )
    return good


def main() -> int:
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    every = [Drawn("other initialisations and inputs", network), Drawn("other inputs for the same weights", network(0))]
    good = [report(drawn, *repeated(drawn, count)) for drawn in every]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
