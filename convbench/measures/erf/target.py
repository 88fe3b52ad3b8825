"""The modules that are measured: one an initialisation, stacked, raised, cast, and never the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from convbench.execution.clone import clone
from convbench.execution.device import torch_dtype
from convbench.execution.dtypes import converted, floating_dtypes
from convbench.execution.lazy import is_lazy_module, materialise
from convbench.execution.tensors import registered_tensors
from convbench.measures.erf.result import NOTHING_TO_RAISE
from convbench.measures.erf.scales import raise_scales, untrained_scales
from convbench.measures.erf.settings import ErfSettings


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured and on what.

    build: see ``measure_erf``. input_shape: (C, H, W).
    """

    build: Callable[[int], nn.Module] | nn.Module
    input_shape: tuple[int, int, int]
    settings: ErfSettings
    device: torch.device

    @property
    def image(self) -> tuple[int, int]:
        """(H, W) of the input."""
        return self.input_shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        return torch_dtype(self.settings.dtype)

    @property
    def initialisations(self) -> int:
        """How many there are: given weights are one."""
        return 1 if isinstance(self.build, nn.Module) else self.settings.seeds

    @property
    def samples(self) -> int:
        """The most samples per initialisation."""
        limit = self.settings.inputs.limit
        return self.settings.samples if limit is None else min(limit, self.settings.samples)

    def module(self, initialisation: int) -> tuple[nn.Module, list[str]]:
        """A frozen module in eval mode on the device, and what a reader must be told of it."""
        depth = self.settings.depth
        copies = [self._copy(initialisation * depth + place) for place in range(depth)]
        module = copies[0] if depth == 1 else nn.Sequential(*copies)
        warnings = self._scale(module)
        if self.settings.dtype == "bfloat16":
            warnings.append(
                "bfloat16 rounds every operator to 8 bits: a deep network's map can move by tens of per cent"
            )
        return self._placed(module), warnings

    def _placed(self, module: nn.Module) -> nn.Module:
        """The clone on the device in the dtype; one of several floating dtypes keeps them."""
        dtypes = floating_dtypes(module)
        dtype = self.dtype if len(dtypes) == 1 and dtypes[0] != self.dtype else None
        if dtype is None and all(tensor.device == self.device for tensor in registered_tensors(module)):
            return module
        return converted(module, dtype, self.device)

    def _copy(self, number: int) -> nn.Module:
        """A clone that evaluates, over the same weights, which ask for no gradient."""
        seed = self.settings.seed + number
        torch.manual_seed(seed)
        module = clone(self.build if isinstance(self.build, nn.Module) else self.build(seed), "frozen").eval()
        if is_lazy_module(module):
            materialise(module, (torch.zeros(1, *self.input_shape),))
            module.requires_grad_(False)
        return module

    def _scale(self, module: nn.Module) -> list[str]:
        value = self.settings.layer_scale
        names = untrained_scales(module) if value is None else raise_scales(module, value)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if value is not None:
            return [f"layer scales raised to {value:g}: {shown}" if names else NOTHING_TO_RAISE]
        if names:
            return [
                f"untrained layer scales (all entries ≤ 1e-4) hide what they scale: {shown}. "
                "Load trained weights or raise them (--layer-scale 1)"
            ]
        return []
