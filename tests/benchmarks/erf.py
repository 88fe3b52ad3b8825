"""How much faster a receptive field is measured than by the usual script, and that both give the same map.

    python tests/benchmarks/erf.py [WORD…]        only comparisons whose name holds one of the words

The usual script: one image at a time, the full image, every parameter requiring a gradient, Σ over channels of one
output pixel, autograd back to the image; its figures are not counted. Both sides run alternately in this process on the
same inputs, one thread; medians are compared: of the map alone, and with every figure of it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convbench import build
from convbench.measures.erf import Erf, ErfSettings, Given, measure_erf
from convbench.measures.erf.features import feature_map
from convbench.measures.erf.measure import sampled
from convbench.measures.erf.target import Target


@dataclass(frozen=True)
class Duel:
    """One comparison. least: ratio of the maps' times that is claimed. usual: samples the script is timed on."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    least: float | None
    samples: int = 16
    usual: int = 16
    rounds: int = 5
    layer: str | None = None


def mrfa(depth: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(build("MRFA", 64) for _ in range(depth)))


DUELS = [
    Duel("MRFA 64 at 224", mrfa(1), (64, 224, 224), 100),
    Duel("MRFA 64 at 64", mrfa(1), (64, 64, 64), 10, rounds=15),
    Duel("four MRFA at 224", mrfa(4), (64, 224, 224), 12, usual=4),
    Duel("four MRFA at 128", mrfa(4), (64, 128, 128), 4, usual=8),
    Duel("PyConvResNet-50 at 1024", lambda: build("pyconvresnet50"), (3, 1024, 1024), 2, 8, 1, 1, "layer4"),
    Duel("MRFA 64 at 1024", mrfa(1), (64, 1024, 1024), None, samples=4, usual=1, rounds=3),
]


def usual_script(
    features: Callable[[Tensor], Tensor], images: Tensor, position: tuple[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The mean over images of Σ_channels |∂ Σ_c features[c, position] / ∂image|: (H, W)."""
    total = np.zeros(images.shape[2:])
    for image in images:
        x = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(features(x)[:, :, position[0], position[1]].sum(), x)
        total += gradient.abs().sum((0, 1)).double().numpy()
    return total / len(images)


def run(duel: Duel) -> None:
    module = duel.build().eval()
    images = torch.randn(duel.samples, *duel.shape, generator=torch.Generator().manual_seed(0))
    settings = ErfSettings(samples=duel.samples, probe="ones", inputs=Given(images), layer=duel.layer, bootstrap=0)
    target = Target(module, duel.shape, settings, torch.device("cpu"))
    features = feature_map(module, duel.layer)

    def measured(samples: int) -> Erf:
        given = Given(images[:samples])
        chosen = ErfSettings(samples=samples, probe="ones", inputs=given, layer=duel.layer, bootstrap=0)
        return measure_erf(module, (1, *duel.shape), chosen)

    erf = measured(duel.usual)
    map_ = usual_script(features, images[: duel.usual], erf.position)
    error = np.abs(erf.map - map_).max() / map_.max()
    usual, maps, figures = [], [], []
    for _ in range(duel.rounds):
        usual.append(_seconds(lambda: usual_script(features, images[: duel.usual], erf.position)))
        maps.append(_seconds(lambda: sampled(target)))
        figures.append(_seconds(lambda: measured(duel.samples)))
    theirs = statistics.median(usual) * duel.samples / duel.usual
    ours, with_figures = statistics.median(maps), statistics.median(figures)
    ratio = theirs / ours
    claim = "" if duel.least is None else f"  ≥ {duel.least:g}×: {'yes' if ratio >= duel.least else 'NO'}"
    print(
        f"{duel.name:24} {duel.samples:3d} samples  usual {theirs:8.3f} s  map {ours:7.4f} s {ratio:7.1f}×  "
        f"figures too {with_figures:7.4f} s {theirs / with_figures:7.1f}×  ({erf.method}, maps differ by {error:.1e})"
        f"{claim}",
        flush=True,
    )


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    for duel in DUELS:
        if len(sys.argv) == 1 or any(word in duel.name for word in sys.argv[1:]):
            run(duel)
