"""The arguments of one call, written as text; the same on the command line, in files and in Python. Imports no torch.

    input  = [NAME=]value
    value  = [value, …] | (value, …) | {key: value, …} | value:LITERAL | tensor
    tensor = EXTENTS[:DTYPE[:LOW..HIGH]]

``2x8x10x10``, ``step=2:int64:0..999``, ``mask=2x1x10x10:bool``, ``batch={image: 2x3x8x8, boxes: [4x4, 2x4]}``.
Extents have ``x`` between them, or commas outside of brackets; ``scalar`` is a tensor without any. Values are drawn
from N(0, 1), or evenly between LOW and HIGH, both included; whole numbers have no usual range, so theirs must be given.
``value:3`` is the number 3 itself.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convbench.errors import ShapeError, nearest
from convbench.reading import shown

Shape = tuple[int, ...]
Input = Shape | str
"""An argument of a call: a shape, or a text that says what a shape does not."""

_WHOLE = {
    name: (-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1)
    for name, bits, signed in (("uint8", 8, 0), ("int8", 8, 1), ("int16", 16, 1), ("int32", 32, 1), ("int64", 64, 1))
}
"""Formats of whole numbers, each with the least and the greatest that it holds."""
_OTHER = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128", "bool")
FORMATS = (*_OTHER, *_WHOLE)
MOST_EXTENTS = 8
"""Of an input: what has more is a typing error rather than an array that a module takes."""
_SCALAR, _LITERAL = "scalar", "value:"
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_HOW = (
    "write its shape N,C,H,W, in full [NAME=]SHAPE[:DTYPE[:LOW..HIGH]], such as 1,64,56,56 or step=2:int64:0..999 or "
    "mask=2x1x10x10:bool"
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A tensor that is to be drawn. dtype: its name; None is that of the module.

    low, high: values are drawn evenly between these, both included; None: from N(0, 1), and of bool either.
    """

    shape: Shape
    dtype: str | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) or _SCALAR
        if self.low is None:
            return text if self.dtype is None else f"{text}:{self.dtype}"
        return f"{text}:{self.dtype}:{self.low}..{self.high}"

    @property
    def is_plain(self) -> bool:
        """Whether its shape says all."""
        return self.dtype is None and self.low is None and bool(self.shape)


@dataclass(frozen=True, slots=True)
class Plain:
    """An argument that is no tensor: a number, a text, a truth value, None."""

    value: Any

    def __str__(self) -> str:
        return f"{_LITERAL}{self.value!r}"


def parse_input(text: str) -> tuple[str | None, Any]:
    """Name and value of one argument: `Drawn` and `Plain` in lists, tuples and dicts. Raises ShapeError."""
    named = re.match(r"\s*([A-Za-z_]\w*)\s*=", text)
    reader = _Reader(text, named.end() if named else 0)
    try:
        value = reader.value(";")
    except RecursionError:
        raise reader.error("it is nested too deeply") from None
    if reader.peek():
        raise reader.error(f"{shown(reader.rest())} is left over")
    return (named[1] if named else None), value


def read_inputs(text: str) -> tuple[Input, ...]:
    """The arguments in a text, with ``;`` between them: plain ones as shapes, others in their one spelling.

    Raises ShapeError.
    """
    found = [parse_input(part) for part in text.split(";")]
    return tuple(
        value.shape if name is None and isinstance(value, Drawn) and value.is_plain else format_input(name, value)
        for name, value in found
    )


def given_inputs(value: Any) -> tuple[Input, ...]:
    """Inputs of one case in a file or of its flags: a text, several, or one shape as whole numbers."""
    if isinstance(value, list | tuple) and all(type(extent) is int for extent in value):
        return (tuple(value),)
    texts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ShapeError(f"must be text, got {shown(value)}")
    return tuple(item for text in texts for item in read_inputs(text))


def arguments_of(inputs: Iterable[Input]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by position and by name. Raises ShapeError also for one that follows a named one, or a name twice."""
    args, kwargs = list[Any](), dict[str, Any]()
    for given in inputs:
        if not isinstance(given, str):
            require_shape(given)
        name, value = parse_input(given) if isinstance(given, str) else (None, Drawn(given))
        if name is None and kwargs:
            raise ShapeError(f"input {shown(given)}: an argument without a name cannot follow one with a name")
        if name in kwargs:
            raise ShapeError(f"input {shown(given)}: {name} is given twice")
        if name is None:
            args.append(value)
        else:
            kwargs[name] = value
    return tuple(args), kwargs


def specified(args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in which texts, at any depth, describe tensors; everything else stays as it is. Raises ShapeError."""
    found, named = list[Any](), dict[str, Any]()
    for value in args:
        name, value = parse_input(value) if isinstance(value, str) else (None, _specified(value))
        if name is None:
            found.append(value)
        else:
            named[name] = value
    return tuple(found), named | {name: _specified(value) for name, value in kwargs.items()}


def _specified(value: Any) -> Any:
    if isinstance(value, str):
        return parse_input(value)[1]
    if type(value) is dict:
        return {key: _specified(item) for key, item in value.items()}
    return type(value)(map(_specified, value)) if type(value) in (list, tuple) else value


def inputs_of(args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[Input, ...]:
    """Arguments that are described by texts, at any depth, as a case has them. Raises ShapeError for tensors."""
    found, named = specified(args, kwargs)
    for value in _leaves((found, named)):
        if not isinstance(value, Drawn | Plain):
            raise ShapeError(
                f"a reference takes arguments that are texts, such as '2x8x10x10' or 'step=2:int64:0..999', not a "
                f"{type(value).__name__}: those are for a module"
            )
    return read_inputs(format_inputs(found, named)) if found or named else ()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


def format_input(name: str | None, value: Any) -> str:
    """The text that `parse_input` reads."""
    return _formatted(value) if name is None else f"{name}={_formatted(value)}"


def format_inputs(args: Iterable[Any], kwargs: dict[str, Any]) -> str:
    """All arguments in one text, as `read_inputs` takes it."""
    given = [(None, value) for value in args], kwargs.items()
    return ";".join(format_input(name, value) for part in given for name, value in part)


def _formatted(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_formatted(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(_formatted, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return str(value)


def require_shape(shape: Shape) -> None:
    """Raise ShapeError for what is no input of a module, or has more elements than any machine holds."""
    if not 1 <= len(shape) <= MOST_EXTENTS or any(extent < 1 for extent in shape) or math.prod(shape) > 2**50:
        raise ShapeError(
            f"shape {','.join(map(shown, shape))}: an image input has four extents N,C,H,W, each at least 1 "
            f"(a sequence has fewer, a volume or a video N,C,D,H,W; at most {MOST_EXTENTS})"
        )


@dataclass
class _Reader:
    """Reads one argument from left to right."""

    text: str
    at: int = 0

    def rest(self) -> str:
        return self.text[self.at :].strip()

    def peek(self) -> str:
        return self.rest()[:1]

    def error(self, why: str) -> ShapeError:
        return ShapeError(f"input {shown(self.text)}: {why}; {_HOW}")

    def take(self, symbol: str) -> None:
        if self.peek() != symbol:
            raise self.error(f"expected {symbol!r}, found {shown(self.rest()) if self.rest() else 'its end'}")
        self.at = self.text.index(symbol, self.at) + 1

    def until(self, stops: str) -> str:
        """The text up to one of ``stops`` that is in no brackets and no quotes."""
        depth, quote, start = 0, "", self.at
        while self.at < len(self.text):
            symbol = self.text[self.at]
            if quote:
                quote = "" if symbol == quote else quote
            elif symbol in "'\"":
                quote = symbol
            elif not depth and symbol in stops:
                break
            else:
                depth += (symbol in "[({") - (symbol in "])}")
            self.at += 1
        return self.text[start : self.at].strip()

    def value(self, stops: str) -> Any:
        opening = self.peek()
        if opening not in _CLOSING or not opening:
            return self.leaf(self.until(stops))
        self.take(opening)
        items = self.items(_CLOSING[opening], self.entry if opening == "{" else lambda: self.value(",])}"))
        return dict(items) if opening == "{" else items if opening == "[" else tuple(items)

    def items(self, closing: str, one: Callable[[], Any]) -> list[Any]:
        found = []
        while self.peek() != closing:
            found.append(one())
            if self.peek() != closing:
                self.take(",")
        self.take(closing)
        return found

    def entry(self) -> tuple[str, Any]:
        key = self.until(":,])}").strip("'\"")
        self.take(":")
        return key, self.value(",])}")

    def leaf(self, text: str) -> Drawn | Plain:
        if text.startswith(_LITERAL):
            try:
                return Plain(ast.literal_eval(text.removeprefix(_LITERAL).strip()))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise self.error(f"{shown(text)}: what follows {_LITERAL} must be a literal of Python") from None
        extents, *more = (part.strip() for part in text.split(":"))
        if len(more) > 2:
            raise self.error(f"{shown(text)} has more than SHAPE:DTYPE:LOW..HIGH")
        dtype = more[0] if more else None
        if dtype is not None and dtype not in FORMATS:
            raise self.error(f"dtype {shown(dtype)} is not one of {', '.join(FORMATS)}.{nearest(dtype, FORMATS)}")
        low, high = self.range(dtype, more[1]) if len(more) == 2 else (None, None)
        if dtype in _WHOLE and low is None:
            raise self.error(f"{shown(text)}: whole numbers need a range, both ends included, such as {text}:0..9")
        return Drawn(self.extents(extents), dtype, low, high)

    def extents(self, text: str) -> Shape:
        if text == _SCALAR:
            return ()
        try:
            shape = tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
        except ValueError:
            raise self.error(f"{shown(text)} is no shape") from None
        require_shape(shape)
        return shape

    def range(self, dtype: str | None, text: str) -> tuple[float, float]:
        low, dots, high = text.partition("..")
        whole = dtype in _WHOLE
        try:
            found = (int(low), int(high)) if whole else (float(low), float(high))
        except ValueError:
            raise self.error(f"the range {shown(text)} must read LOW..HIGH, such as 0..9") from None
        least, most = _WHOLE[str(dtype)] if whole else (-math.inf, math.inf)
        if not dots or not found[0] <= found[1] or not all(map(math.isfinite, found)) or dtype == "bool":
            raise self.error(f"{shown(text)} is no range of {dtype}")
        if not least <= found[0] <= found[1] <= most:
            raise self.error(f"the range {shown(text)} exceeds what {dtype} holds, {least}..{most}")
        return found
