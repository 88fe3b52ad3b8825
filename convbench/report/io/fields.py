"""Receptive fields for drawing: the map, what was probed, and the figures under it, from a result or an .npz file."""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convbench.errors import UsageError
from convbench.measures.erf.result import SETUP
from convbench.pictures.field import Field
from convbench.reading import MAX_BYTES, parse_json, read_bytes, typed
from convbench.report.io.document import Report
from convbench.report.io.json_file import to_json
from convbench.report.io.schema import Described, Description, Finite, Scalar

Floats = NDArray[np.float64]


def to_npz(report: Report) -> dict[str, bytes]:
    """The maps, and beside them all that JSON holds: of fields that could not be measured under ``failed``."""
    rows = report.sections.get("fields", ())
    sections = {**report.sections, "fields": rows[: len(report.fields)], "failed": rows[len(report.fields) :]}
    buffer = io.BytesIO()
    maps: dict[str, Any] = {f"map_{index}": field.map for index, field in enumerate(report.fields)}
    np.savez_compressed(buffer, description=to_json(dataclasses.replace(report, sections=sections))[""], **maps)
    return {"": buffer.getvalue()}


def load_npz(path: Path) -> Report:
    """The fields that ``convbench erf measure -o FILE.npz`` saved. Raises UsageError for any other file."""
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = str(_array(archive, "description", "U"))
            content = typed(parse_json(about, f"{path}, description"), Description, f"{path}, description")
            maps = [_array(archive, f"map_{index}", "f") for index in range(len(content.fields))]
    except UsageError:
        raise
    except Exception as error:  # damaged archives fail in every way that zipfile, zlib and NumPy have
        reason = str(error)[:200]
        raise UsageError(
            f"{path} holds no receptive fields ({reason}): write them by convbench erf measure TARGET -o FILE.npz"
        ) from error
    rows = zip(content.fields, maps, strict=True)
    fields = [_field(row, map_, content.command, f"{path}, fields[{index}]") for index, (row, map_) in enumerate(rows)]
    return Report([], fields=fields, origin=path.name)


def _array(archive: zipfile.ZipFile, name: str, kind: str) -> NDArray[Any]:
    """An array of the archive, no larger than its header and its member agree on; ``kind`` as in ``dtype.kind``.

    Raises ValueError where they do not: a header alone can ask for more memory than there is.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_BYTES:
        raise ValueError(f"{name} unpacks to {member.file_size} bytes: at most {MAX_BYTES} are read")
    stream = io.BytesIO(archive.read(member))
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran_order, dtype = header(stream)
    content = stream.read()
    if dtype.kind != kind or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name} is not the array that it says it is")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _field(row: Mapping[str, Any], map_: NDArray[Any], command: str, place: str) -> Field:
    said = typed(row, Described, place)
    map_ = map_.astype(np.float64)
    if map_.ndim != 2 or not map_.size or not np.isfinite(map_).all() or map_.min() < 0 or not 0 < map_.sum() < 1e300:
        raise UsageError(f"{place}: its map must be rows and columns of finite numbers of at least 0, not all 0")
    if len(said.radial_share) != len(said.radial_distance_px):
        raise UsageError(f"{place}: as many radial_share as radial_distance_px are needed")
    if said.radial_gaussian and len(said.radial_gaussian) != len(said.radial_share):
        raise UsageError(f"{place}: as many radial_gaussian as radial_share are needed, or none")
    height, width = said.receptive_field_height_px, said.receptive_field_width_px
    is_known = height is not None and width is not None and said.field_source == "propagated"
    figures = {
        key: typed(value, Finite | None, f"{place}, {key}")  # type: ignore[arg-type]
        for key, value in row.items()
        if isinstance(value, int | float | None) and not isinstance(value, bool) and key not in SETUP
    }
    return Field(
        said.target,
        map_,
        _centre(map_, said.offset_y_px, said.offset_x_px),
        (height, width) if is_known else None,  # type: ignore[arg-type]
        figures,
        {name: typed(row.get(name), Scalar | None, f"{place}, {name}") for name in SETUP},  # type: ignore[arg-type]
        np.asarray(said.radial_distance_px, dtype=np.float64),
        np.asarray(said.radial_share, dtype=np.float64),
        command,
        np.asarray(said.radial_gaussian, dtype=np.float64) if said.radial_gaussian else None,
        said.field_source == "propagated",
    )


def _centre(map_: Floats, offset_y: float, offset_x: float) -> tuple[float, float]:
    """The field's centre: the map's centroid less the offset of the centroid from the centre, to the half pixel."""
    p = map_ / map_.sum()
    y, x = p.sum(axis=1) @ np.arange(map_.shape[0]), p.sum(axis=0) @ np.arange(map_.shape[1])
    return round(2 * (y - offset_y)) / 2, round(2 * (x - offset_x)) / 2
