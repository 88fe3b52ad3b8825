"""What is differentiated: which output pixel, with which weights on its channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from convbench.measures.erf.settings import Probe


def sample_generator(seed: int, initialisation: int, sample: int) -> torch.Generator:
    """The random state of one sample: the same whatever else is drawn, in whatever order."""
    state = np.random.SeedSequence((seed, initialisation, sample)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


def channel_weights(probe: Probe, channels: int, generator: torch.Generator) -> Tensor:
    """(channels,) float32: random ±1, or ones.

    All ones is orthogonal to what a normalisation over the channels lets through, so that only rounding noise is left
    of the gradient; random signs weigh every channel alike and are cancelled by nothing.
    """
    if probe == "ones":
        return torch.ones(channels)
    return torch.randint(0, 2, (channels,), generator=generator).mul_(2).sub_(1).float()


def nearest_position(image: int, start: float, stride: float, count: int) -> int:
    """Index of the output pixel whose receptive field is centred nearest to the centre of the image, along one axis.

    image: input pixels. start: centre of output pixel 0's field in input pixels. stride: from one output pixel's
    centre to the next. count: output pixels. Of two equally near the later is taken, as ``count // 2`` does.
    """
    if stride <= 0:
        return 0
    exact = ((image - 1) / 2 - start) / stride
    return int(min(max(np.floor(exact + 0.5), 0), count - 1))


def grid_centre(image: int, count: int, index: int) -> float:
    """Where output pixel ``index`` of ``count`` lies in the input if outputs divide it evenly."""
    return (index + 0.5) * image / count - 0.5
