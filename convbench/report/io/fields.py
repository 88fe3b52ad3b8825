"""Receptive fields for drawing: the map, what was probed, and the figures under it, from a result or an .npz file."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convbench.errors import UsageError

if TYPE_CHECKING:
    from convbench.measures.erf import Erf

Floats = NDArray[np.float64]
_SETUP = ("statistic", "probe", "mode", "depth", "layer", "inputs", "initialisations", "samples", "dtype")


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One effective receptive field.

    map: (H, W), non-negative. centre: (y, x) of the theoretical receptive field in pixels of the map.
    extent: (height, width) of the theoretical receptive field; None where it is unbounded.
    figures: by the names of ErfMetrics; None where the map does not define one. setup: what was probed, and how.
    distance_px, share: (K,) the radial profile, as shares of the whole map per pixel. command: the one that measured.
    """

    label: str
    map: Floats
    centre: tuple[float, float]
    extent: tuple[int, int] | None
    figures: Mapping[str, float | None]
    setup: Mapping[str, Any]
    distance_px: Floats
    share: Floats
    command: str = ""


def field_of(label: str, erf: Erf) -> Field:
    """The field that a measurement gave."""
    box = erf.receptive_field
    figures = dataclasses.asdict(erf.metrics)
    figures.pop("agd_reason", None)
    return Field(
        label,
        erf.map,
        erf.centre,
        None if box is None else (box.height, box.width),
        figures,
        {name: getattr(erf, name) for name in _SETUP},
        erf.profile.distance_px,
        erf.profile.share,
    )


def load_fields(path: Path) -> list[Field]:
    """The fields that ``convbench erf measure -o FILE.npz`` saved. Raises UsageError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = json.loads(str(archive["description"]))
            maps = [archive[f"map_{index}"] for index in range(len(content["fields"]))]
            rows = content["fields"]
            return [_field(row, map_, content.get("command", "")) for row, map_ in zip(rows, maps, strict=True)]
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} holds no receptive fields ({error}): write them by convbench erf measure TARGET -o FILE.npz"
        ) from error


def _field(row: Mapping[str, Any], map_: Floats, command: str) -> Field:
    height, width = row["receptive_field_height_px"], row["receptive_field_width_px"]
    figures = {key: value for key, value in row.items() if isinstance(value, int | float | None) and key not in _SETUP}
    return Field(
        row["target"],
        map_,
        _centre(map_, row["offset_y_px"], row["offset_x_px"]),
        None if height is None or width is None else (height, width),
        figures,
        {name: row.get(name) for name in _SETUP},
        np.asarray(row["radial_distance_px"], dtype=np.float64),
        np.asarray(row["radial_share"], dtype=np.float64),
        command,
    )


def _centre(map_: Floats, offset_y: float, offset_x: float) -> tuple[float, float]:
    """The field's centre: the map's centroid less the offset of the centroid from the centre, to the half pixel."""
    p = map_ / map_.sum()
    y, x = p.sum(axis=1) @ np.arange(map_.shape[0]), p.sum(axis=0) @ np.arange(map_.shape[1])
    return round(2 * (y - offset_y)) / 2, round(2 * (x - offset_x)) / 2
