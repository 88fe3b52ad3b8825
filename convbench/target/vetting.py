"""What data may name as a target: a module, which is known before anything is called.

A file of records or a study is written by others. What it names is built, so it may name what can be told to be a
module, and nothing else: registered targets, models of the hosts, subclasses of `torch.nn.Module`, and factories that
the user's own ``file.py`` itself defines. Imports no torch.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from convbench.case import Case
from convbench.errors import TargetError
from convbench.registry import Reference, resolve

_WAY_OUT = (
    "files may name registered targets, timm: and torchvision: models, subclasses of torch.nn.Module, and factories "
    "that your own file.py defines; where you trust the file, add --trust"
)
_FETCHING_OPTIONS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options of timm's models that read what another file holds."""


def refuse_by_sight(case: Case) -> bool:
    """Refuse what is no target for data, as far as its name and its source tell; nothing is imported, nothing runs.

    Returns whether it is only known once it is imported, by `require_module`. Raises UsageError.
    """
    reference = resolve(case.target)
    if reference.scheme == "timm":
        fetching = next((name for name in _FETCHING_OPTIONS if name in dict(case.options)), None)
        if fetching is not None:
            raise _refused(reference, f"its option {fetching!r} names a file that would be loaded")
    if reference.scheme in ("registered", "timm", "torchvision"):
        return False
    if not reference.attribute.isidentifier():
        raise _refused(reference, f"{reference.attribute!r} is not the name of a class")
    if reference.scheme == "file":
        folder = _installation(Path(reference.location))
        if folder is not None:
            raise _refused(reference, f"it is no file of yours, but part of what is installed in {folder}")
        return True
    if reference.location.partition(".")[0] in sys.stdlib_module_names:
        raise _refused(reference, "Python's own library defines no module")
    binding = _binding(reference)
    if binding is not None:
        raise _refused(reference, binding)
    return True


def require_module(target: str) -> None:
    """Import ``target`` and refuse it unless it is known to be a module, or a factory of the user's own file.

    Importing runs what the file or the package does at import; the target itself is not called. Raises UsageError.
    """
    from torch import nn

    from convbench.target.references import load_factory

    reference = resolve(target)
    if reference.scheme in ("registered", "timm", "torchvision"):
        return
    value = load_factory(reference)
    if _is_class(value) and issubclass(value, nn.Module):  # type: ignore[arg-type]
        return
    if reference.scheme != "file" or not _is_defined_in(Path(reference.location), value):
        raise _refused(reference, f"{reference.attribute} is a {type(value).__name__} that is no module")


def look(request: Mapping[str, Any], send: object) -> None:
    """A worker's job: `require_module` of ``request["target"]``."""
    require_module(request["target"])


def _refused(reference: Reference, why: str) -> TargetError:
    return TargetError(f"{reference.text!r} is not called: {why}; {_WAY_OUT}")


def _is_class(value: Any) -> bool:
    return issubclass(type(value), type)  # isinstance would believe an object's own __class__


def _is_defined_in(file: Path, value: Any) -> bool:
    """Whether ``value`` is a function, a class or a partial that ``file`` itself defines."""
    while type(value) is functools.partial:
        value = value.func
    if _is_class(value):
        module = sys.modules.get(value.__module__)
        return getattr(module, "__file__", None) == str(file.resolve()) and value.__name__ in vars(module)
    layers = (value, inspect.unwrap(value))  # a decorator of another file around a function of this one
    files = [Path(layer.__code__.co_filename).resolve() for layer in layers if type(layer) is types.FunctionType]
    return file.resolve() in files


def _installation(file: Path) -> str | None:
    """The folder of Python, of its packages or of this tool that ``file`` lies in, or None."""
    place = file.resolve()
    known = [sysconfig.get_paths().get(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [Path(folder).resolve() for folder in known if folder] + [Path(__file__).resolve().parents[1]]
    folders += [folder for folder in place.parents if folder.name in ("site-packages", "dist-packages")]
    return next((str(folder) for folder in folders if place.is_relative_to(folder)), None)


def _binding(reference: Reference) -> str | None:
    """Why what the module's source calls ``reference.attribute`` can be no class of modules, or None."""
    source = _source(reference.location)
    if source is None:
        return None  # built in, compiled, or found in another way: the import tells
    try:
        statements = list(_statements(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names: dict[str, ast.stmt] = {}
    for statement in statements:
        for name in _names(statement):
            names[name] = statement
    bound = names.get(reference.attribute)
    if bound is None and not names.keys() & {"*", "__getattr__"}:
        return f"{reference.location} defines no {reference.attribute!r}"
    if isinstance(bound, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{reference.attribute} is a function"
    if isinstance(bound, ast.ClassDef) and not bound.bases:
        return f"{reference.attribute} is a class that is no module"
    return None


def _source(location: str) -> bytes | None:
    """The source of a module, found without importing its packages."""
    places: Any = None
    spec = None
    name = ""
    for part in location.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    try:
        return Path(spec.origin).read_bytes() if spec is not None and (spec.origin or "").endswith(".py") else None  # type: ignore[arg-type]
    except OSError:
        return None


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """What a module runs at import, with the branches of its conditions; not what functions and classes hold."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _statements(node)


def _names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    else:
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
