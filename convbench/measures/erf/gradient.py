"""Input gradients of the probed score, by running the module as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from convbench.measures.erf.features import FeatureMap
from convbench.measures.erf.settings import Statistic


def input_gradient(features: FeatureMap, x: Tensor, weights: Tensor, position: tuple[int, int], relu: bool) -> Tensor:
    """∂score/∂x of every sample: like x, (N, C, H, W).

    score: Σ_c weights[:, c]·features(x)[:, c, position], weights (N, c); with ``relu`` negative features count as zero.
    Zero where nothing of x is reached.
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        # A module may begin with an in-place operation, which a leaf refuses.
        output = features(leaf.clone())[:, :, position[0], position[1]]
        score = (weights.to(output) * (output.relu() if relu else output)).sum()
        if not score.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(score, leaf, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def contribution(gradient: Tensor, statistic: Statistic) -> Tensor:
    """Gradients (N, C, H, W) to contributions summed over input channels: (N, H, W) float64. Overwrites them."""
    if statistic == "abs":
        value = gradient.abs_()
    elif statistic == "square":
        value = gradient.double().square_()
    else:
        value = gradient.relu_()
    return value.sum(dim=1, dtype=torch.promote_types(value.dtype, torch.float32)).double()
