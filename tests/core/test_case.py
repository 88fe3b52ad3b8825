"""Parsing and validation of cases."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.case import DTYPES, Case
from convbench.errors import DeviceError, OptionError, ShapeError, UsageError
from convbench.inputs import read_inputs
from convbench.notation import parse_options


def test_shapes_are_read_with_commas_or_crosses() -> None:
    assert read_inputs("1,64,56,56") == read_inputs("1x64x56x56") == ((1, 64, 56, 56),)


@pytest.mark.parametrize("text", ["", "1,64,-5,56", "1,1,1,1,1,1,1,1,1", "a,b", "1;", "0,3,8,8"])
def test_a_malformed_shape_is_refused(text: str) -> None:
    with pytest.raises(ShapeError, match="N,C,H,W"):
        read_inputs(text)


def test_options_are_python_literals_and_words() -> None:
    pairs = ["kernels=[3,5]", "bias=True", "flag=false", "rate=.5", "name=relu", "none=None", "pair=(1, 2)"]
    assert parse_options(pairs) == {
        "kernels": [3, 5],
        "bias": True,
        "flag": False,
        "rate": 0.5,
        "name": "relu",
        "none": None,
        "pair": (1, 2),
    }


@pytest.mark.parametrize("pair", ["kernel", "=3", "3=4", "a b=1"])
def test_an_option_without_a_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(OptionError, match="key=value"):
        parse_options([pair])


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="twice"):
        parse_options(["k=1", "k=2"])


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"dim": 0}, ShapeError, "dim must be a whole number of at least 1, got 0"),
        ({"size": -3}, ShapeError, "size must be"),
        ({"batch": 0}, ShapeError, "batch must be"),
        ({"threads": 0}, ShapeError, "threads must be"),
        ({"dtype": "float23"}, UsageError, r"Did you mean 'float32'\?"),
        ({"mode": "train"}, UsageError, r"Did you mean 'training'\?"),
        ({"device": "cudaa"}, DeviceError, r"Did you mean 'cuda'\?"),
        ({"device": "cuda:x"}, DeviceError, "is not one of cpu"),
        ({"shapes": ((1, 2, 3, 4),), "size": 8}, ShapeError, "either --shape or"),
    ],
)
def test_a_wrong_case_says_what_is_accepted(fields: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Case("MRFA", **fields)  # type: ignore[arg-type]


cases = st.builds(
    Case,
    target=st.sampled_from(["MRFA", "timm:resnet18", "a.py:B"]),
    dim=st.none() | st.integers(1, 512),
    options=st.dictionaries(
        st.sampled_from(["kernel_size", "kernels", "bias"]),
        st.integers(1, 9) | st.lists(st.integers(1, 9)) | st.booleans(),
    ).map(lambda options: tuple(options.items())),
    batch=st.integers(1, 8),
    size=st.none() | st.integers(1, 512),
    device=st.sampled_from(["cpu", "cuda:1", "meta"]),
    dtype=st.sampled_from(DTYPES),
    mode=st.sampled_from(["inference", "training"]),
    autocast=st.none() | st.sampled_from(DTYPES),
    input_grad=st.none() | st.booleans(),
    transforms=st.sampled_from([(), ("refocus",), ("refocus", "fuse")]),
)


@given(cases)
def test_a_case_survives_json(case: Case) -> None:
    restored = Case.from_json(json.loads(json.dumps(case.to_json())))
    assert restored == case
    assert restored.key == case.key


@given(cases, cases)
def test_keys_tell_cases_apart(one: Case, other: Case) -> None:
    texts = [json.dumps(case.to_json(), sort_keys=True) for case in (one, other)]  # in which 1 is not true
    assert (one.key == other.key) == (texts[0] == texts[1])
