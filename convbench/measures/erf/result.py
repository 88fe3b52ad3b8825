"""What measuring an effective receptive field gives. Plain data: imports neither torch nor NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from convbench.column import described, within
from convbench.workers.codec import Floats as Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from convbench.pictures.field import Field

Method = Literal["demand", "crop", "full"]
SETUP = ("statistic", "probe", "mode", "depth", "layer", "inputs", "initialisations", "samples", "dtype", "method")
"""The fields of `Erf` that say what was probed, and how."""

NOTHING_TO_RAISE = "no untrained layer scale to raise"
"""Among the warnings of a field whose layer scales were to be raised, where it has none."""


@dataclass(frozen=True, slots=True)
class Box:
    """A window of pixels [top, bottom) × [left, right); it may pass the borders of the image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def centre(self) -> tuple[float, float]:
        """(y, x) in pixels; half-integer along an even side."""
        return (self.top + self.bottom - 1) / 2, (self.left + self.right - 1) / 2

    def clipped(self, height: int, width: int) -> Box:
        """The part inside an image of that size."""
        return self.intersection(Box.whole(height, width))

    def intersection(self, other: Box) -> Box:
        """The pixels in both; they must overlap."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        return Box(top, bottom, max(self.left, other.left), min(self.right, other.right))

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        top, bottom = min(self.top, other.top), max(self.bottom, other.bottom)
        return Box(top, bottom, min(self.left, other.left), max(self.right, other.right))

    def rows(self, frame: Box) -> slice:
        """This box's rows as indices into an array that covers ``frame``."""
        return slice(self.top - frame.top, self.bottom - frame.top)

    def columns(self, frame: Box) -> slice:
        """This box's columns as indices into an array that covers ``frame``."""
        return slice(self.left - frame.left, self.right - frame.left)

    @classmethod
    def whole(cls, height: int, width: int) -> Box:
        """The box of the image itself."""
        return cls(0, height, 0, width)


def metric(unit: str, formula: str, **column: Any) -> float | None:
    """A field of ErfMetrics with the text that tables and documents print beside it, and what it is as a column."""
    described_so = described(unit=unit, **column) if column else {}
    result: float | None = field(default=None, metadata={"unit": unit, "formula": formula, **described_so})
    return result


def _area(share: int) -> dict[str, Any]:
    return {
        "name": f"erf_r{share}",
        "title": f"ERF r{share}",
        "convention": f"share of the input's area in the smallest centred square with {share}% of the map",
        "show": "number",
    }


@dataclass(frozen=True, slots=True)
class ErfMetrics:
    """Figures of one map; p is the map normalised to sum one, (y, x) offsets from the centre of the field in pixels.

    None stands for what the map does not define (the reason is in ``agd_reason`` where it is about the AGD scores).
    The centre is that of the theoretical receptive field: a pixel, or the corner or side between pixels.
    Noise that is left in a map lowers its entropy, and with it the AGD scores and the entropy area, as 1/samples. Those
    of a field are less the bias that the jackknife finds; those of one map, and of a single sample, are as they are.
    """

    sigma_px: float | None = metric(
        "px",
        "√((σ_y² + σ_x²)/2)",
        name="erf_sigma",
        title="ERF σ",
        convention="standard deviation of the effective receptive field, input pixels",
        show="number",
        summary="ERF σ (px)",
    )
    sigma_y_px: float | None = metric("px", "√(Σ p·(y − ȳ)²)")
    sigma_x_px: float | None = metric("px", "√(Σ p·(x − x̄)²)")
    offset_y_px: float | None = metric("px", "ȳ = Σ p·y: centroid from the centre, down positive")
    offset_x_px: float | None = metric("px", "x̄ = Σ p·x: centroid from the centre, right positive")
    aspect: float | None = metric("", "σ_minor/σ_major from the eigenvalues of the covariance; 1 is round")
    orientation_deg: float | None = metric("°", "direction of the major axis, from x towards y, in (−90, 90]")
    fwhm_px: float | None = metric("px", "√(FWHM_y·FWHM_x)")
    fwhm_y_px: float | None = metric("px", "width at half the peak of the section along y through the centre")
    fwhm_x_px: float | None = metric("px", "the same along x")
    side_20_px: float | None = metric("px", "side of the smallest centred square that holds 20% of the mass")
    side_30_px: float | None = metric("px", "the same for 30%")
    side_50_px: float | None = metric("px", "the same for 50%")
    side_99_px: float | None = metric("px", "the same for 99%")
    area_ratio_20: float | None = metric(
        "", "r(20%): pixels of that square inside the image / pixels of the image", **_area(20)
    )
    area_ratio_30: float | None = metric("", "r(30%)", **_area(30))
    area_ratio_50: float | None = metric("", "r(50%)", **_area(50))
    area_ratio_99: float | None = metric("", "r(99%)", **_area(99))
    radius_50_px: float | None = metric("px", "smallest R with Σ_{√(y²+x²) ≤ R} p ≥ 50%")
    radius_90_px: float | None = metric("px", "the same for 90%")
    radius_99_px: float | None = metric("px", "the same for 99%")
    entropy_area_px2: float | None = metric(
        "px²", "exp(−Σ p·ln p), less its bias: the number of pixels of an even map as spread out"
    )
    centre_share: float | None = metric("", "Σ p over the pixel (or the 2 or 4 pixels) at the centre")
    monotonicity: float | None = metric(
        "", "Σ max(0, m_k − m_{k+1})/Σ |m_k − m_{k+1}|, m the radial profile; 1: never rises"
    )
    kurtosis: float | None = metric("", "E[(dᵀΣ⁻¹d)²] − 8, d = (y − ȳ, x − x̄) (Mardia); 0 for a Gaussian")
    kurtosis_y: float | None = metric("", "E[(y − ȳ)⁴]/σ_y⁴ − 3; 0 for a Gaussian")
    kurtosis_x: float | None = metric("", "E[(x − x̄)⁴]/σ_x⁴ − 3")
    agd: float | None = metric(
        "",
        "exp(−KL(p‖q)), less its bias; q the discrete Gaussian on the image with p's mean and covariance",
        name="erf_agd",
        title="ERF AGD",
        convention="closeness of the map to a Gaussian of its own second moments, in (0, 1]",
        show="fraction",
        summary="AGD",
    )
    agd_radial: float | None = metric(
        "", "exp(−KL), less its bias, between the masses in rings one pixel wide, q with p's E[y² + x²]"
    )
    sigma_without_centre_px: float | None = metric("px", "σ after lowering the centre to the mean of its neighbours")
    agd_without_centre: float | None = metric("", "AGD after lowering the centre to the mean of its neighbours")
    agd_reason: str | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The numeric fields in order."""
        return tuple(item.name for item in fields(cls) if item.name != "agd_reason")


@dataclass(frozen=True, slots=True)
class RadialProfile:
    """Contribution per pixel against the distance from the centre, as shares of the whole map.

    distance_px: (K,) mean distance of the pixels in each ring of one pixel's width. share, gaussian: (K,) of the map
    and of the Gaussian with its E[r²] (NaN where the map is one pixel).
    """

    distance_px: Floats
    share: Floats
    gaussian: Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the figure of infinitely many initialisations and inputs lies, at 95%; see `Uncertainty`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far the figures of a map depend on what was drawn. Keys are names of ErfMetrics.

    units: what was drawn independently, and what intervals therefore extend to: other ``initialisations`` with other
        inputs, or, where there is one set of weights, other ``inputs`` to it.
    intervals: from leaving out one unit at a time, with t of ``degrees_of_freedom`` (units − 1); sides, areas and radii
        from the intervals of the shares inside them. errors, biases: standard error and bias by the same jackknife.
    spread: standard deviation across initialisations.
    Empty where a single unit leaves it unknown.
    """

    intervals: Mapping[str, Interval]
    errors: Mapping[str, float]
    biases: Mapping[str, float]
    spread: Mapping[str, float]
    units: Literal["initialisations", "inputs"] = "inputs"
    degrees_of_freedom: int = 0

    @property
    def covers(self) -> str:
        """What intervals extend to, in words; empty without any."""
        if not self.degrees_of_freedom:
            return ""
        return "initialisations and inputs" if self.units == "initialisations" else "inputs, for these weights"


@dataclass(frozen=True, slots=True)
class Erf:
    """An effective receptive field: its map, what was probed and how, and its figures.

    map: (H, W) float64, the mean over samples of the summed statistic of the input gradient. position: the output pixel
    (row, column) of ``output_size`` that was probed; centre: (y, x) of its receptive field in the input, or where
    operators join the whole image that of its local path, which passes through them.
    receptive_field: the theoretical one, which may pass the borders of the image; None where it is unbounded.
    field_source: ``propagated`` through the operators, or ``probed`` as the support of gradients.
    support: the smallest box that holds every non-zero pixel of the map.
    samples: per initialisation. initialisations: how many were pooled.
    method: ``demand`` (every operator on what the probed pixel can see), ``crop`` (the module on the part of the image
    that it sees) or ``full``; ``reason`` says why the cheaper ones were not taken. per_initialisation: figures of each.
    two_gaussians: the two that the map is a mixture of, where they fit it better than one.
    label: the target's name, where it has one.
    """

    map: Floats
    metrics: ErfMetrics = field(metadata=within())
    uncertainty: Uncertainty
    per_initialisation: tuple[ErfMetrics, ...]
    profile: RadialProfile
    position: tuple[int, int]
    output_size: tuple[int, int]
    centre: tuple[float, float]
    receptive_field: Box | None
    field_source: Literal["propagated", "probed"]
    support: Box
    samples: int
    initialisations: int
    statistic: str
    probe: str
    layer: str | None
    depth: int
    dtype: str
    mode: str
    inputs: str
    method: Method
    reason: str | None
    warnings: tuple[str, ...]
    replknet: RepLKNetFigures | None = None
    two_gaussians: TwoGaussians | None = None
    label: str = ""

    @property
    def theoretical_over_effective(self) -> float | None:
        """√(area of the theoretical field) over S99, the side of the square that holds 99% of the map.

        How much larger a field is than what is used of it; None where the theoretical one is not known or unbounded.
        """
        box, side = self.receptive_field, self.metrics.side_99_px
        if box is None or side is None or self.field_source == "probed":
            return None
        return math.sqrt(box.height * box.width) / side

    @property
    def described(self) -> Field:
        """The field as pictures and files take it."""
        from convbench.pictures.field import Field

        box = self.receptive_field if self.field_source == "propagated" else None
        figures = {name: getattr(self.metrics, name) for name in ErfMetrics.names()}
        gaussian = self.profile.gaussian
        return Field(
            self.label,
            self.map,
            self.centre,
            None if box is None else (box.height, box.width),
            figures | (self.replknet.columns if self.replknet else {}),
            {name: getattr(self, name) for name in SETUP},
            self.profile.distance_px,
            self.profile.share,
            gaussian=None if (gaussian != gaussian).any() else gaussian,  # NaN where the map is one pixel
            is_propagated=self.field_source == "propagated",
        )

    def to_frame(self) -> Any:
        """The figures with their 95% intervals, a row each, as a pandas DataFrame."""
        import pandas as pd

        rows = []
        for name in ErfMetrics.names():
            bounds = self.uncertainty.intervals.get(name)
            low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
            rows.append({"figure": name, "value": getattr(self.metrics, name), "low": low, "high": high})
        return pd.DataFrame(rows).set_index("figure")

    def __repr__(self) -> str:
        size = "×".join(map(str, self.map.shape))
        spread = (self.metrics.sigma_px, self.metrics.side_99_px)
        sigma, side = ("–" if value is None else f"{value:.4g} px" for value in spread)
        return f"<Erf {self.label or 'of a module'} {size}: σ {sigma}, 99% in a square of {side}, {self.inputs}>"

    def _repr_html_(self) -> str:
        from io import StringIO

        text = StringIO()
        self.plot().savefig(text, format="svg")
        return text.getvalue().partition("?>")[2]  # a page takes no XML declaration

    def plot(self, **drawing: Any) -> Figure:
        """A picture of this field. drawing: as `convbench.pictures.field.Drawing` takes it: ``width_in=3.3``, …"""
        from convbench.pictures.field import Drawing
        from convbench.pictures.figure import draw

        return draw([self.described], Drawing(**drawing))


@dataclass(frozen=True, slots=True)
class TwoGaussians:
    """A map as the mixture of two round Gaussians about the centre, of largest likelihood on the pixels of the image.

    inner_share: of the map's mass in the narrower. inner_sigma_px, outer_sigma_px: √(E[r²]/2) of each on the image.
    agd: exp(−KL(p‖mixture)), not corrected for bias.
    """

    inner_share: float
    inner_sigma_px: float
    outer_sigma_px: float
    agd: float


@dataclass(frozen=True, slots=True)
class RepLKNetFigures:
    """Figures as RepLKNet's scripts compute them, for comparison with published tables only.

    sides_px, area_ratios: share of the sum of log10(1 + g)/max → side of the centred square and its area over the
    image's; None where no square inside the image holds so much. They depend on the scale of the gradient.
    """

    sides_px: Mapping[float, int | None]
    area_ratios: Mapping[float, float | None]

    @property
    def columns(self) -> dict[str, float | None]:
        """The figures by names that no figure of ErfMetrics has."""
        sides = {f"replknet_side_{share:.0%}_px".replace("%", ""): side for share, side in self.sides_px.items()}
        return {f"replknet_r{share:.0%}".replace("%", ""): ratio for share, ratio in self.area_ratios.items()} | sides
