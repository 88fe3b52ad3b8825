"""What a user may choose about an effective receptive field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from convbench.errors import OptionError, nearest
from convbench.measures.erf.form import LAYOUTS, Form
from convbench.measures.erf.inputs import Inputs, Noise

Statistic = Literal["abs", "square", "relu"]
Probe = Literal["signs", "ones"]
Mode = Literal["convbench", "replknet"]
Precision = Literal["float32", "float64", "bfloat16"]
Evaluation = Literal["auto", "full"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "statistic": ("abs", "square", "relu"),
    "probe": ("signs", "ones"),
    "mode": ("convbench", "replknet"),
    "dtype": ("float32", "float64", "bfloat16"),
    "evaluation": ("auto", "full"),
}


@dataclass(frozen=True, slots=True)
class ErfSettings:
    """How a field is measured; every default is the one that convbench publishes with.

    samples: inputs per initialisation; with ``precision`` the most that are drawn.
    seeds: initialisations pooled, when the target can be built afresh (a module with given weights is one).
    statistic: what is averaged over samples and summed over input channels: ``abs`` |g|, ``square`` g² or ``relu``
        max(g, 0). ``square`` maps are narrower than ``abs`` maps, by up to √2 for deep stacks: never compare them.
    probe: weights of the output channels in the score: random ``signs`` (±1, fresh for every sample) or ``ones``.
        ``ones`` is cancelled by a block that ends in a normalisation over its channels.
    layer: dotted name of the submodule whose output is probed; None: the output, or the last feature map before
        it is pooled to class scores.
    layout: how the probed output is laid out, ``NCHW``, ``NHWC``, or with tokens ``NLC``, ``NCL``; None: as the
        operators that made it say. grid: (height, width) of its tokens; tokens before those are no part of the map.
    depth: number of copies of the target stacked one after the other, each initialised on its own.
    precision: stop drawing samples once the relative standard errors over inputs, for the initialisations drawn, fall
        below it (0.01 = 1%); None: draw them all.
    dtype: dtype of weights, inputs and gradients. bfloat16 has moved a deep network's map by 38%: a warning says so.
    seed: of the first initialisation and of the inputs.
    mode: ``replknet`` reproduces the numbers of that project's scripts and overrides statistic and probe.
    layer_scale: value given to layer scales that are still untrained (all entries ≤ 1e-4 in magnitude); None: kept.
    inputs: where samples come from: noise, an image folder, a tensor file.
    bootstrap: 0 leaves intervals out. They come from leaving units out (see ``interval``), whatever other number it is.
    evaluation: ``auto`` computes only what the probed pixel can see where that is exact; ``full`` never does.

    Raises OptionError on a value outside these.
    """

    samples: int = 32
    seeds: int = 8
    statistic: Statistic = "abs"
    probe: Probe = "signs"
    layer: str | None = None
    layout: str | None = None
    grid: tuple[int, int] | None = None
    depth: int = 1
    precision: float | None = None
    dtype: Precision = "float32"
    seed: int = 0
    mode: Mode = "convbench"
    layer_scale: float | None = None
    inputs: Inputs = field(default_factory=Noise)
    bootstrap: int = 200
    evaluation: Evaluation = "auto"

    @property
    def form(self) -> Form | None:
        """How the probed output is laid out, where that is given; a grid alone is one of tokens with channels last."""
        if self.layout is None and self.grid is None:
            return None
        return Form(self.layout or "NLC", self.grid)

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise OptionError(
                f"erf layout is one of {', '.join(LAYOUTS)}; got {self.layout!r}.{nearest(self.layout, LAYOUTS)}"
            )
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(self.grid))  # a list where it came through JSON
        if self.grid is not None and min(self.grid) < 1:
            raise OptionError(f"erf grid is the rows and columns of tokens, such as 14,14; got {self.grid}")
        for name, valid in _CHOICES.items():
            value = getattr(self, name)
            if value not in valid:
                raise OptionError(
                    f"erf {name} is one of {', '.join(valid)}; got {value!r}.{nearest(str(value), valid)}"
                )
        for name, least in (("samples", 1), ("seeds", 1), ("depth", 1), ("bootstrap", 0), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise OptionError(f"erf {name} must be at least {least}; got {value}")
        if self.precision is not None and not 0 < self.precision < 1:
            raise OptionError(f"erf precision is a relative error between 0 and 1, such as 0.01; got {self.precision}")
        if self.layer_scale == 0:
            raise OptionError("erf layer scale must not be 0: it would hide the block altogether; 1 shows it")
