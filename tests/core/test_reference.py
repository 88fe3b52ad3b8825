"""Targets that say their own options, conditions and changes: read, written, told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.case import DTYPES, Case
from convbench.cli.options import complete_target
from convbench.errors import UsageError
from convbench.reference import PER_TARGET, baseline_index, labels, read_case, read_cases, says
from convbench.sweeps.settings import settings_from, settings_from_flags
from convbench.sweeps.study import make_study
from convbench.sweeps.study_file import settings_from_file

USUAL = Case("")


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("MRFA", Case("MRFA")),
        ("PyConv(kernels=[3,5])", Case("PyConv", options=(("kernels", [3, 5]),))),
        ("MRFA@dim=96", Case("MRFA", dim=96)),
        ("ConvNeXt(kernel_size=31, act=relu)", Case("ConvNeXt", options=(("kernel_size", 31), ("act", "relu")))),
        (
            "Conv3x3@dim=8,mode=training+refocus+fused",
            Case("Conv3x3", 8, transforms=("refocus", "fuse"), mode="training"),
        ),
        ("Conv3x3+refocus@dim=8+fuse", Case("Conv3x3", 8, transforms=("refocus", "fuse"))),
        ("timm:resnet18.a1_in1k(num_classes=10)", Case("timm:resnet18.a1_in1k", options=(("num_classes", 10),))),
        ("a+b@c(1)/d.py:E.F@shape=1x2x3x4;5x6", Case("a+b@c(1)/d.py:E.F", shapes=((1, 2, 3, 4), (5, 6)))),
        ("a.b:C(text='x.py:y, (@+', pair=(1, 2))", Case("a.b:C", options=(("text", "x.py:y, (@+"), ("pair", (1, 2))))),
        ("MRFA()", Case("MRFA")),
        ("MRFA(k={'a': [1]},)", Case("MRFA", options=(("k", {"a": [1]}),))),
        ("MRFA@weights='my, own+.pth',pretrained=true", Case("MRFA", weights="my, own+.pth", pretrained=True)),
    ],
)
def test_what_a_reference_says(text: str, case: Case) -> None:
    assert read_case(text, USUAL) == case
    assert read_case(case.label, USUAL) == case


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
CASES = st.builds(
    Case,
    target=st.sampled_from(["MRFA", "timm:resnet18.a1", "my dir/c++ (2)/a@b.py:B", "pkg.mod:Cls.Inner"]),
    dim=st.none() | st.integers(1, 512),
    options=st.dictionaries(st.sampled_from(["kernels", "act", "k1"]), VALUES).map(lambda it: tuple(it.items())),
    shapes=st.sampled_from([(), ((1, 2, 3, 4),), ((1, 2), (3, 4, 5))]),
    device=st.sampled_from(["cpu", "cuda:1", "meta"]),
    dtype=st.none() | st.sampled_from(DTYPES),
    memory_format=st.sampled_from(["contiguous", "channels_last"]),
    mode=st.sampled_from(["inference", "forward", "training"]),
    input_grad=st.none() | st.booleans(),
    threads=st.integers(1, 8),
    weights=st.none() | st.text(min_size=1).filter(lambda text: text != "none"),
    pretrained=st.booleans(),
    transforms=st.sampled_from([(), ("refocus",), ("refocus", "fuse"), ("my-own", "fuse")]),
    seed=st.integers(0, 2**63 - 1),
)


@given(CASES)
def test_a_label_is_read_back_as_the_case(case: Case) -> None:
    assert read_case(case.label, USUAL) == case


@given(st.text() | st.text(alphabet="MRFA.py:@+()[]{},='\"\\dim9 \n\0*"))
def test_no_text_ends_but_in_a_case_or_a_usage_error(text: str) -> None:
    try:
        case = read_case(text, USUAL)
    except UsageError:
        return
    assert read_case(case.label, USUAL) == case or any(sign in case.target for sign in "(@+'\"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PyConv(kernels=[3,5]", "a bracket or a quote is open"),
        ("PyConv(act='x)", "a bracket or a quote is open"),
        ("PyConv(3)", "option '3': write key=value"),
        ("PyConv(k=1)(k=2)", "a bracket or a quote is open"),
        ("PyConv(k=1)x", "write NAME(option=value)"),
        ("PyConv(k=1, k=2)", "option 'k' is given twice"),
        ("PyConv(k=1e999)", "is no plain value"),
        ("PyConv@dimm=3", "'dimm=3' is no condition=value. Did you mean 'dim'? Conditions: dim, size"),
        ("PyConv@dim", "'dim' is no condition=value"),
        ("PyConv@dim=x", "must be a whole number, got 'x'"),
        ("PyConv@dim=0", "dim must be a whole number of at least 1, got 0"),
        ("PyConv@mode=train", "Did you mean 'training'?"),
        ("PyConv@dim=1@dim=2", "dim is given twice"),
        ("PyConv@device=meta", "'device=meta' is no condition=value"),
        ("PyConv@target=x", "'target=x' is no condition=value"),
        ("PyConv+", "write NAME(option=value)"),
        ("PyConv@shape=1x2x3x4,size=8", "a shape already says both"),
    ],
)
def test_a_wrong_reference_is_shown_with_the_rule(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_case(text, USUAL, PER_TARGET)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pyconvb", ["PyConvBasicBlock1", "PyConvBasicBlock2", "PyConvBottleneck", "PyConvBNReLU"]),
        ("PyConv(kernels=[3,5],gr", ["PyConv(kernels=[3,5],groups="]),
        ("MRFA@dim=8,d", ["MRFA@dim=8,dim=", "MRFA@dim=8,dtype="]),
        ("MRFA(k=1)+refocus+f", ["MRFA(k=1)+refocus+fused"]),
        ("nothing(", []),
        ("uniconvnet_a\n(", []),
    ],
)
def test_a_reference_is_completed_without_importing_the_target(typed: str, offered: list[str]) -> None:
    assert complete_target(typed) == offered


def test_what_a_target_says_holds_before_the_flags() -> None:
    usual = Case("", dim=64, options=(("bias", True), ("k", 3)), shapes=((1, 64, 8, 8),), dtype="float64")
    assert read_case("A(k=5)@dim=96,size=14", usual) == Case(
        "A", 96, (("bias", True), ("k", 5)), size=14, dtype="float64"
    )
    assert read_case("A@shape=1x3x4x4", Case("", size=9, batch=2)).shapes == ((1, 3, 4, 4),)


def test_wildcards_give_each_once_and_what_was_typed_twice_is_twice() -> None:
    cases = read_cases(["PyConv*(kernels=[3])", "pyconv(kernels=[3])", "MRFA", "MRFA"], USUAL)
    assert [case.target for case in cases].count("PyConv") == 1
    assert [case.target for case in cases].count("MRFA") == 2
    assert {dict(case.options).get("kernels", [0])[0] for case in cases} == {0, 3}


def test_labels_say_what_differs_and_number_what_does_not() -> None:
    texts = ["PyConv(bias=True, kernels=[3])@dim=8", "PyConv(bias=True)@dim=8", "PyConv(bias=True)@dim=8"]
    cases = read_cases([*texts, "MRFA(bias=True)@dim=8+refocus"], USUAL)
    assert labels(cases) == ["PyConv(kernels=[3])", "PyConv #1", "PyConv #2", "MRFA+refocus"]
    assert labels(cases[:1]) == ["PyConv(bias=True, kernels=[3])"]
    assert [baseline_index(cases, text) for text in (None, "pyconv", "PyConv #2", texts[0])] == [0, 1, 2, 0]
    assert says(cases[0], "PyConv(kernels=[3])")
    assert not says(cases[1], "PyConv(kernels=[3])")
    with pytest.raises(UsageError, match=r"Did you mean 'MRFA\+refocus'"):
        baseline_index(cases, "MRFA+refocu")


def test_a_study_takes_references_and_their_own_conditions_replace_the_axes(tmp_path: Path) -> None:
    text = 'targets = ["PyConv(kernels=[3,5])", "MRFA@dim=96+refocus"]\ndims = [8, 16]\nmeasures = "params"\n'
    (tmp_path / "study.toml").write_text(text)
    flags = {"targets": ["PyConv(kernels=[3,5])", "MRFA@dim=96+refocus"], "dims": ["8,16"], "measures": ["params"]}
    content = {"targets": flags["targets"], "dims": [8, 16], "measures": "params"}
    wanted = [
        Case("PyConv", 8, (("kernels", [3, 5]),)),
        Case("PyConv", 16, (("kernels", [3, 5]),)),
        Case("MRFA", 96, transforms=("refocus",)),
    ]
    for grids in (
        settings_from_file(tmp_path / "study.toml"),
        settings_from(content, str),
        [settings_from_flags(flags, ())],
    ):
        assert [task.case for task in make_study(grids).tasks] == wanted
