"""What can be measured: names, plug-ins and references. Importing or listing never imports torch.

A plug-in is a distribution that offers, under the entry-point group ``convbench.blocks``, a list of mappings with
the fields of `Entry`. A reference is what a user types: a registered name, ``timm:name``, ``torchvision:name``,
``path/to/file.py:Class`` or ``package.module:Class``.
"""

from __future__ import annotations

import ast
import fnmatch
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from convbench.errors import UnknownNameError, UsageError, nearest
from convbench.reading import shown

GROUP = "convbench.blocks"
HOSTS = ("timm", "torchvision")

Kind = Literal["block", "network"]
Factory = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered target.

    ``target`` is ``"module:attribute"`` of a class or factory, or the factory itself where it was registered at run
    time. A block's factory is ``f(dim, **options)``, a network's ``f(num_classes, in_chans, **options)``.
    ``size``: height and width of its input unless asked otherwise, where the usual 56 or 224 does not suit it.
    ``example_inputs``: its inputs, where one image or feature map is not what it takes; texts such as
    ``["2x8x10x10", "step=2:int64:0..999"]``, or a function that gives tensors.
    ``family``: what it is listed under. ``keeps_shape``, ``stride``: whether its output has its input's shape, and by
    how much it is smaller, as the block is built by default; None where nobody has said.
    """

    name: str
    kind: Kind
    target: str | Factory
    summary: str = ""
    paper: str = ""
    arxiv: str = ""
    year: int | None = None
    size: int | None = None
    example_inputs: Any = None
    origin: str = ""
    family: str = ""
    keeps_shape: bool | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("block", "network"):
            raise UsageError(f"{self.name}: kind must be 'block' or 'network', got {self.kind!r}")
        if isinstance(self.target, str) and ":" not in self.target:
            raise UsageError(f"{self.name}: target must read 'module:attribute', got {self.target!r}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A resolved reference: where a factory comes from, before anything is imported.

    ``location`` is the host's model name, the file's path or the module's name; ``attribute`` the class in it.
    """

    text: str
    scheme: Literal["registered", "timm", "torchvision", "file", "module"]
    location: str
    attribute: str = ""
    entry: Entry | None = None

    @property
    def name(self) -> str:
        """The name that tables print."""
        if self.entry is not None:
            return self.entry.name
        return self.attribute or self.text


_runtime: dict[str, Entry] = {}


def register(
    name: str,
    target: str | Factory,
    *,
    kind: Kind = "block",
    summary: str = "",
    paper: str = "",
    arxiv: str = "",
    year: int | None = None,
    size: int | None = None,
    example_inputs: Any = None,
) -> None:
    """Add a target under ``name`` for this process.

    target: ``"module:attribute"`` or a callable: ``f(dim, **options) -> nn.Module`` of a block,
    ``f(num_classes, in_chans, **options) -> nn.Module`` of a network.
    size: height and width of its input unless asked otherwise, where 56 or 224 does not suit it.
    example_inputs: its inputs, where one image or feature map is not what it takes: tensors, texts that describe them
        such as ``["2x8x10x10", "step=2:int64:0..999"]``, or a function that gives them.
    Raises UsageError when the name is taken, saying by whom.
    """
    entry = Entry(name, kind, target, summary, paper, arxiv, year, size, example_inputs, "convbench.register")
    taken = entries().get(name.lower())
    if taken is not None:
        raise UsageError(f"{name!r} is already registered by {taken.origin}; register yours under another name")
    adopt(entry)


def adopt(entry: Entry) -> None:
    """Take over what another process has registered."""
    _runtime[entry.name.lower()] = entry


def entries() -> Mapping[str, Entry]:
    """Every registered target by lower-cased name, in the order of registration."""
    return {**_plugins(), **_runtime}


@cache
def _plugins() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for point in entry_points(group=GROUP):
        for entry in _load(point):
            other = found.setdefault(entry.name.lower(), entry)
            if other is not entry:
                raise UsageError(
                    f"two plug-ins register {entry.name!r}: {other.origin} and {entry.origin}; uninstall one of them"
                )
    return found


def _load(point: EntryPoint) -> Iterable[Entry]:
    """The entries of one plug-in; a broken one is a warning, so that it cannot take the others down."""
    origin = point.dist.name if point.dist is not None else point.value
    known = {field.name for field in fields(Entry)} - {"origin"}
    try:
        with printing_to_stderr():
            raw = [{key: value for key, value in dict(row).items() if key in known} for row in point.load()]
        return [replace(Entry(**row), origin=f"{origin} ({point.value})") for row in raw]
    except BaseException as error:  # a plug-in may fail in any way, and try to end the process
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        warnings.warn(f"plug-in {origin} ({point.value}) could not be loaded: {kind}{error}", stacklevel=2)
        return []


@contextmanager
def printing_to_stderr() -> Iterator[None]:
    """Send to stderr what is printed meanwhile, from below Python too: stdout is data, and no plug-in's."""
    kept = None
    with suppress(OSError, AttributeError):  # no stdout, or no stderr
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def select(patterns: Iterable[str] = (), kind: Kind | None = None) -> list[Entry]:
    """Entries whose name matches any of ``patterns`` (shell wildcards, case ignored); all without patterns.

    Raises UnknownNameError for a pattern that matches nothing.
    """
    chosen: dict[str, Entry] = {}
    everything = {key: entry for key, entry in entries().items() if kind is None or entry.kind == kind}
    for pattern in list(patterns) or ["*"]:
        hits = fnmatch.filter(everything, pattern.lower())
        if not hits and pattern != "*":
            raise UnknownNameError(_unknown(pattern))
        chosen.update({key: everything[key] for key in hits})
    return list(chosen.values())


def of_family(chosen: Iterable[Entry], family: str) -> list[Entry]:
    """The entries of a family, whose name is read without case, hyphens and blanks. Raises UsageError."""
    families = {_bare(entry.family): entry.family for entry in entries().values() if entry.family}
    if _bare(family) not in families:
        near = nearest(family, families.values())
        raise UsageError(f"no family is called {shown(family)}.{near} Families: {', '.join(families.values())}")
    return [entry for entry in chosen if _bare(entry.family) == _bare(family)]


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def resolve(text: str) -> Reference:
    """Read a reference. Raises UnknownNameError with the nearest registered name where nothing is called so."""
    if "\0" in text:
        raise UsageError(f"{shown(text)} is no reference: no name has a NUL byte in it")
    head, colon, tail = text.rpartition(":")
    if not colon:
        entry = entries().get(text.lower())
        if entry is None:
            raise UnknownNameError(_unknown(text))
        return Reference(text, "registered", entry.name, entry=entry)
    if not head or not tail:
        raise UsageError(
            f"{shown(text)} is no reference: write NAME, file.py:Class, package.module:Class or timm:model"
        )
    if head == "saved":
        raise UsageError(f"{shown(text)} is no reference: a pickled module runs code when it is read; name its class")
    if head in HOSTS:
        return Reference(text, "timm" if head == "timm" else "torchvision", tail)
    if head.endswith(".py"):
        return Reference(text, "file", head, tail)
    return Reference(text, "module", head, tail)


def target_name(text: str) -> str:
    """The name that tables print of a target; of what is none, such as a module's class, the text itself."""
    try:
        return resolve(text).name
    except UsageError:
        return text


def option_names(text: str) -> list[str]:
    """The options of a target, read off its source text, since a shell's completion may run nobody's code."""
    try:
        reference = resolve(text)
        place = reference.entry.target if reference.entry is not None else text
        location, _, attribute = str(place).rpartition(":")
        inside = location if location.endswith(".py") else f"{location.replace('.', '/')}.py"
        source = next(path for root in ("", *sys.path) if (path := Path(root, inside)).is_file())
        found = {getattr(node, "name", ""): node for node in ast.parse(source.read_bytes()).body}[attribute]
        if isinstance(found, ast.ClassDef):
            found = {getattr(node, "name", ""): node for node in found.body}["__init__"]
    except (UsageError, StopIteration, KeyError, OSError, SyntaxError, ValueError):
        return []
    arguments = getattr(found, "args", None)
    named = (*arguments.args, *arguments.kwonlyargs) if arguments is not None else ()
    return [arg.arg for arg in named if arg.arg != "self"]


def _unknown(name: str) -> str:
    hint = nearest(name, (entry.name for entry in entries().values()))
    return f"nothing is registered as {shown(name)}.{hint} `convbench list` prints every name; your own: file.py:Class"
