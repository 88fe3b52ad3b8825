"""Results between processes: what goes in comes out, and what is no result is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from convbench.errors import MeasurementError
from convbench.workers.codec import Floats, decode, encode


@dataclass(frozen=True, slots=True)
class Part:
    name: Literal["a", "b"]
    span: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    parts: tuple[Part, ...]
    by_index: dict[int, float]
    field: Floats
    note: str = ""


WHOLE = Whole((Part("a"), Part("b", (1.5, float("inf")))), {3: 0.25}, np.arange(6.0).reshape(2, 3), "×")


def test_a_result_comes_back_as_it_was() -> None:
    back = decode(Whole, json.loads(json.dumps(encode(WHOLE))))
    assert (back.parts, back.by_index, back.note) == (WHOLE.parts, WHOLE.by_index, WHOLE.note)
    assert np.array_equal(back.field, WHOLE.field)
    assert back.field.dtype == np.float64


def test_numpy_scalars_become_numbers() -> None:
    assert encode({"a": np.float64(0.5), "b": [np.int32(3)]}) == {"a": 0.5, "b": [3]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": [{"name": "c"}]}, r"\$\.parts\[0\]\.name"),
        ({"note": 3}, r"\$\.note"),
        ({"field": [1.0]}, r"\$\.field"),
        ({"field": {"dtype": "O", "shape": [1], "base64": "AAAAAAAAAAA="}}, r"\$\.field"),
        ({"field": {"dtype": "<f8", "shape": [3], "base64": "AAAAAAAAAAA="}}, r"\$\.field"),
        ({"by_index": {"x": 1.0}}, r"\$"),
    ],
)
def test_what_is_no_result_names_the_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MeasurementError, match=f"no valid Whole.*{said}"):
        decode(Whole, {**encode(WHOLE), **change})


def test_what_cannot_be_sent_is_said() -> None:
    with pytest.raises(TypeError, match="object"):
        encode({"a": object()})
