"""Arguments written as text, said by targets themselves, and drawn: every kind of input that a module may take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convbench.api import profile
from convbench.case import Case
from convbench.errors import ShapeError, TargetError
from convbench.inputs import Drawn, Plain, format_input, inputs_of, parse_input, read_inputs
from convbench.target.arguments import written
from convbench.target.blueprint import Subject, blueprint, instance_blueprint

STEP = """
import torch
from torch import nn

class Step(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        self.embedding = nn.Embedding(1000, dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x, step):
        return self.conv(x + self.embedding(step)[:, :, None, None])
"""


def subject(folder: Path, text: str, target: str = "Step", **conditions: Any) -> Subject:
    path = folder / f"{target.lower()}_{abs(hash(text))}.py"
    path.write_text(text)
    return blueprint(Case(f"{path}:{target}", **conditions)).subject()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2,8,10,10", (None, Drawn((2, 8, 10, 10)))),
        ("2x4x8x8x8", (None, Drawn((2, 4, 8, 8, 8)))),
        ("step=2:int64:0..999", ("step", Drawn((2,), "int64", 0, 999))),
        ("mask = 2x1x10x10:bool", ("mask", Drawn((2, 1, 10, 10), "bool"))),
        ("t=scalar:float64:0..1", ("t", Drawn((), "float64", 0.0, 1.0))),
        ("{image: 2x3, boxes: [4x4, (2, 3:int32:-1..4)]}",
         (None, {"image": Drawn((2, 3)), "boxes": [Drawn((4, 4)), (Drawn((2,)), Drawn((3,), "int32", -1, 4))]})),
        ("name=value:'a, b'", ("name", Plain("a, b"))),
        ("[value:None, value:{'k': (1, 2.5)}]", (None, [Plain(None), Plain({"k": (1, 2.5)})])),
        ("()", (None, ())),
    ],
)  # fmt: skip
def test_an_argument_is_read_as_it_is_written(text: str, expected: tuple[str | None, Any]) -> None:
    assert parse_input(text) == expected
    assert parse_input(format_input(*expected)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2:int64", "whole numbers need a range"),
        ("2:int46:0..9", "Did you mean 'int64'?"),
        ("2:int8:0..999", "exceeds what int8 holds, -128..127"),
        ("2:int64:9..0", "no range"),
        ("2:float32:nan..1", "no range"),
        ("[2x3", "expected ','"),
        ("{a}", "expected ':'"),
        ("{a: 2}x", "left over"),
        ("value:f(3)", "literal"),
        ("2:int64:0..9:1", "more than"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_argument_is_refused(text: str, words: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_input(text)
    assert words in str(caught.value)


def test_a_case_holds_plain_shapes_as_shapes_and_the_rest_in_one_spelling() -> None:
    assert read_inputs("2,8,4,4; step = 2:int64:0..9") == ((2, 8, 4, 4), "step=2:int64:0..9")
    assert inputs_of(["2,8,4,4"], {"step": "2:int64:0..9"}) == ((2, 8, 4, 4), "step=2:int64:0..9")
    case = Case("MRFA", shapes=read_inputs("2x8x4x4;mask=2x4:bool"))
    assert Case.from_json(case.to_json()) == case
    with pytest.raises(ShapeError, match="cannot follow"):
        Case("MRFA", shapes=("mask=2x4:bool", (2, 8, 4, 4)))
    with pytest.raises(ShapeError, match="given twice"):
        Case("MRFA", shapes=("a=2", "a=3"))


def test_whole_numbers_are_drawn_between_both_ends_and_equal_seeds_draw_the_same(tmp_path: Path) -> None:
    shapes = read_inputs(
        "500:int64:-1..1; 300:uint8:0..255; 400:bool; 300:float64:2..3; 5:complex64; scalar:int32:7..7"
    )
    drawn = subject(tmp_path, STEP, shapes=shapes).args
    assert [str(tensor.dtype)[6:] for tensor in drawn] == ["int64", "uint8", "bool", "float64", "complex64", "int32"]
    assert sorted(set(drawn[0].tolist())) == [-1, 0, 1]
    assert int(drawn[1].max()) > 200
    assert 100 < int(drawn[2].sum()) < 300
    assert 2 <= float(drawn[3].min()) < 2.1 < 2.9 < float(drawn[3].max()) <= 3
    assert drawn[5].tolist() == 7
    assert all(map(torch.equal, drawn, subject(tmp_path, STEP, shapes=shapes).args))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_dtype_asked_for_is_that_of_what_says_none(tmp_path: Path, device: str) -> None:
    shapes = read_inputs("2x8x4x4; 2x3:float16; step=2:int64:0..9")
    built = subject(tmp_path, STEP, shapes=shapes, dtype="bfloat16", device=device)
    assert [tensor.dtype for tensor in built.args] == [torch.bfloat16, torch.float16]
    assert built.kwargs["step"].dtype == torch.int64
    assert built.args[0].device.type == device


def test_images_and_volumes_are_drawn_channels_last(tmp_path: Path) -> None:
    built = subject(tmp_path, STEP, shapes=read_inputs("2x8x4x4; [2x3x4x4x4, 2x3]"), memory_format="channels_last")
    assert built.args[0].is_contiguous(memory_format=torch.channels_last)
    assert built.args[1][0].is_contiguous(memory_format=torch.channels_last_3d)
    volume = instance_blueprint(
        nn.Conv3d(2, 4, 3), Case("Conv3d", shapes=((1, 2, 4, 4, 4),), memory_format="channels_last")
    )
    assert volume.module().weight.is_contiguous(memory_format=torch.channels_last_3d)


ARGUMENTS = "torch.randn(2, 8, 10, 10), torch.tensor([3, 7])"
SAYS = {
    "a function of the file": f"{STEP}\ndef example_inputs(): return [{ARGUMENTS}]\n",
    "an attribute of the file": f'{STEP}\nexample_inputs = ["2x8x10x10", "2:int64:3..7"]\n',
    "a pair": STEP + "\ndef example_inputs(): return [torch.randn(2, 8, 10, 10)], {'step': torch.tensor([3, 7])}\n",
    "names alone": STEP + "\nexample_inputs = {'x': '2x8x10x10', 'step': '2:int64:3..7'}\n",
    "a static method": f"{STEP}\n    @staticmethod\n    def example_inputs(): return {ARGUMENTS}\n",
    "a method": f"{STEP}\n    def example_inputs(self): return {ARGUMENTS.replace('8', 'self.conv.in_channels')}\n",
}


@pytest.mark.parametrize("text", SAYS.values(), ids=SAYS)
def test_a_target_says_its_inputs_itself(tmp_path: Path, text: str) -> None:
    built = subject(tmp_path, text)
    assert built.shapes == ((2, 8, 10, 10), (2,))
    assert built.module(*built.args, **built.kwargs).shape == (2, 8, 10, 10)
    assert subject(tmp_path, text, shapes=((1, 8, 4, 4), "step=1:int64:0..9")).shapes == ((1, 8, 4, 4), (1,))


def test_a_function_of_batch_and_size_follows_what_is_asked_for(tmp_path: Path) -> None:
    text = STEP + (
        "\ndef example_inputs(batch, dim, size=10):\n"
        "    return torch.randn(batch, dim, size, size), torch.zeros(batch, dtype=torch.long)\n"
    )
    assert subject(tmp_path, text, batch=3, size=6, dim=4).shapes == ((3, 4, 6, 6), (3,))
    with pytest.raises(ShapeError, match="takes no batch"):
        subject(tmp_path, SAYS["a function of the file"], batch=3)
    with pytest.raises(ShapeError, match="says its inputs itself"):
        subject(tmp_path, SAYS["an attribute of the file"], size=3)
    with pytest.raises(TargetError, match="ZeroDivisionError"):
        subject(tmp_path, STEP + "\ndef example_inputs(): return 1 / 0\n")


def test_what_was_measured_is_written_as_it_can_be_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "says.py"
    path.write_text(SAYS["a pair"])
    text = written(blueprint(Case(f"{path}:Step")).arguments)
    assert text == "2x8x10x10;step=2:int64:3..7"
    assert blueprint(Case(f"{path}:Step", shapes=read_inputs(text))).shapes() == ((2, 8, 10, 10), (2,))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        return self.conv(x.masked_fill(mask, 0.0))


@pytest.mark.parametrize(
    "given",
    [
        {"inputs": ["2x8x10x10", "mask=2x1x10x10:bool"]},
        {"inputs": ["2x8x10x10"], "kwargs": {"mask": "2x1x10x10:bool"}},
        {"inputs": [torch.zeros(2, 8, 10, 10)], "kwargs": {"mask": "2x1x10x10:bool"}},
        {"shape": (2, 8, 10, 10), "kwargs": {"mask": torch.zeros(2, 1, 10, 10, dtype=torch.bool)}},
    ],
)
def test_texts_describe_the_arguments_of_an_instance_too(given: dict[str, Any]) -> None:
    record = profile(Masked(), **given, measures=["cost"])
    assert (record.macs, record.input_shape) == (115_200, "2x8x10x10;mask=2x1x10x10:bool")


class Lazy(nn.Module):
    example_inputs = ("x=2x8x10x10",)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.LazyConv2d(8, 3, padding=1)

    def forward(self, *, x: Tensor) -> Tensor:
        return self.conv(x)


def test_lazy_parts_get_the_shape_that_named_arguments_ask_for() -> None:
    lazy = Lazy()
    record = profile(lazy, measures=["params", "cost"])
    assert (record.params, record.macs) == (584, 115_200)
    assert isinstance(lazy.conv, nn.LazyConv2d)
