"""A target as it is typed, with its own options, conditions and changes: ``PyConv(kernels=[3,5])@dim=96+refocus``.

One syntax for the command line, studies and Python, which `Case.label` writes. Values are literals; nothing is
evaluated. Imports no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any

from convbench.case import CONDITIONS, Case
from convbench.errors import OptionError, UnknownNameError, nearest, placed
from convbench.notation import literal, parse_options
from convbench.reading import shown
from convbench.registry import entries, resolve, select

# A path may hold any sign of the syntax, and ends in ``.py:``; no text among options does, for its quotes.
_TARGET = re.compile(r"(?:[^'\"]*?\.py:|[^'\"(@+]*:)?[^(@+]*")
_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|.", re.DOTALL)
PER_TARGET = tuple(name for name in CONDITIONS if name not in ("device", "threads"))
"""The conditions in which targets that are timed beside each other may differ."""
_RULE = "write NAME(option=value)@condition=value+change, such as 'PyConv(kernels=[3,5])@dim=96+refocus'"


def read_reference(text: str, conditions: Collection[str] = CONDITIONS) -> tuple[str, dict[str, Any]]:
    """The target that ``text`` names, and the fields of a case that it says beside it.

    conditions: those that it may say. Raises UsageError; whether anything is called so, is not looked at.
    """
    if text.lower() in entries():
        return text, {}
    found = _TARGET.match(text)
    end = found.end() if found is not None else 0
    return text[:end], placed(shown(text), _own, text[end:], conditions) if text[end:] else {}


def read_case(text: str, usual: Case, conditions: Collection[str] = CONDITIONS) -> Case:
    """The case that ``text`` names, under the conditions of ``usual`` where it says nothing else. Raises UsageError."""
    target, own = read_reference(text, conditions)
    own["options"] = tuple({**dict(usual.options), **dict(own.get("options", ()))}.items())
    given_up = {"size": None, "batch": 1} if "shapes" in own else {"shapes": ()} if {"size", "batch"} & {*own} else {}
    return placed(shown(text), lambda: replace(usual, target=target, **{**given_up, **own}))


def read_cases(texts: Sequence[str] | None, usual: Case, conditions: Collection[str] = CONDITIONS) -> list[Case]:
    """The case of each text, wildcards replaced by what they match; every registered block where there are none.

    What was typed twice is there twice; a wildcard adds nothing that is there. Raises UsageError.
    """
    if not texts:
        return [replace(usual, target=entry.name) for entry in select(kind="block")]
    read = [read_case(text, usual, conditions) for text in texts]
    found = [(case.target, replace(case, target=name)) for case in read for name in registered(case.target)]
    typed = [case for text, case in found if not _is_wild(text)]
    cases: list[Case] = []
    for text, case in found:
        if not (_is_wild(text) and case in [*typed, *cases]):
            cases.append(case)
    return cases


def _is_wild(target: str) -> bool:
    return ":" not in target and any(symbol in target for symbol in "*?[")


def says(case: Case, text: str) -> bool:
    """Whether the case is what ``text`` asks for: that target, by the end of its name too, with all that is said."""
    target, own = read_reference(text)
    options = own.pop("options", ())
    return (
        target.lower() in (case.target.lower(), case.target.rpartition(":")[2].lower())
        and all(pair in case.options for pair in options)
        and all(getattr(case, name) == value for name, value in own.items())
    )


def baseline_index(cases: Sequence[Case], baseline: str | None) -> int:
    """Which of the cases ``baseline`` is, as it was typed or as tables print it. Raises UnknownNameError."""
    if baseline is None:
        return 0
    names, bare = labels(cases), short(cases)
    both = list(zip(names, bare, strict=True))
    told = [index for index, pair in enumerate(both) if baseline.lower() in (name.lower() for name in pair)]
    told += [index for index, case in enumerate(cases) if says(case, baseline)]
    if not told:
        raise UnknownNameError(
            f"baseline {baseline!r} is not among the targets.{nearest(baseline, names)} They are: {', '.join(names)}"
        )
    return told[0]


def registered(target: str) -> list[str]:
    """The target by its registered name; all that a wildcard matches. Raises UsageError where nothing is called so."""
    return [resolve(target).text] if ":" in target else [entry.name for entry in select([target])]


def labels(cases: Sequence[Case], names: Sequence[str] | None = None) -> list[str]:
    """A label of each case among the others, as `short` gives it, but of equal ones as ``MRFA #1``, ``MRFA #2``."""
    return numbered(short(cases, names))


def numbered(found: Sequence[str], keys: Sequence[Hashable] | None = None) -> list[str]:
    """The labels, those that stand for equal things with a number. keys: of the things, if not the labels."""
    keys = found if keys is None else keys
    all_of, so_far, told = Counter(keys), Counter[Hashable](), []
    for label, key in zip(found, keys, strict=True):
        so_far[key] += 1
        told.append(f"{label} #{so_far[key]}" if all_of[key] > 1 else label)
    return told


def short(cases: Sequence[Case], names: Sequence[str] | None = None) -> list[str]:
    """The target of each case, and what it says that not all of them say.

    names: of the targets, as tables print them, unless they are as they were typed.
    """
    shared = {
        name: stated.default
        for name, stated in CONDITIONS.items()
        if name not in ("target", *(["options"] if len(cases) == 1 else []))
        and all(getattr(case, name) == getattr(cases[0], name) for case in cases)
    }
    found = []
    for case, name in zip(cases, names or [case.target for case in cases], strict=True):
        own = [pair for pair in case.options if len(cases) == 1 or not all(pair in other.options for other in cases)]
        found.append(replace(case, **{"options": tuple(own), **shared, "target": name}).label)
    return found


def _own(said: str, conditions: Collection[str]) -> dict[str, Any]:
    """The fields of a case that ``(kernels=[3,5])@dim=96+refocus`` says. Raises UsageError."""
    options, *parts = _cut(said, "@+")
    if options and not (options[0] == "(" and options[-1] == ")"):
        raise OptionError(_RULE)
    pairs = [pair for pair in _cut(options[1:-1], ",") if pair.strip(", ")]
    own: dict[str, Any] = {"options": tuple(parse_options(pair.removeprefix(",") for pair in pairs).items())}
    for pair in (pair for part in parts if part[0] == "@" for pair in _cut(part[1:], ",")):
        name, value = _condition(pair.removeprefix(","), conditions)
        if name in own:
            raise OptionError(f"{CONDITIONS[name].singular} is given twice")
        own[name] = value
    changes = [part[1:].strip() for part in parts if part[0] == "+"]
    if not all(re.fullmatch(r"[\w-]+", change) for change in changes):
        raise OptionError(_RULE)
    return own | ({"transforms": CONDITIONS["transforms"].read("+".join(changes))} if changes else {})


def _condition(pair: str, conditions: Collection[str]) -> tuple[str, Any]:
    """The condition that ``dim=96`` is of, and its value. Raises UsageError."""
    said, equals, value = (part.strip() for part in pair.partition("="))
    known = [CONDITIONS[name] for name in conditions if name not in ("target", "options", "transforms")]
    stated = next((stated for stated in known if said in (stated.singular, stated.name)), None)
    if not equals or stated is None:
        names = [stated.singular for stated in known]
        raise OptionError(f"{shown(pair)} is no condition=value.{nearest(said, names)} Conditions: {', '.join(names)}")
    return stated.name, stated.parse(literal(value) if value[:1] in ("'", '"') else value)


def _cut(text: str, marks: str) -> list[str]:
    """``text``, cut before each of ``marks`` that is in no brackets and no quotes. Raises OptionError."""
    found, depth = [""], 0
    for token in _TOKEN.findall(text):
        depth += (token in ("(", "[", "{")) - (token in (")", "]", "}"))
        if depth < 0 or token in ("'", '"'):
            break
        if depth == 0 and token in tuple(marks):
            found.append("")
        found[-1] += token
    if depth or "".join(found) != text:
        raise OptionError(f"a bracket or a quote is open: {_RULE}")
    return found
