"""From a reference to a factory with checked options. The user's own code is imported here, and fails here."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from convbench.case import DEFAULT_DIM, Case
from convbench.errors import MissingExtraError, OptionError, TargetError, nearest
from convbench.registry import Kind, Reference
from convbench.target.options import widths_to_give


def load_factory(reference: Reference) -> Callable[..., Any]:
    """The class or factory that ``reference`` names. Raises TargetError when it cannot be imported."""
    entry = reference.entry
    if entry is not None and not isinstance(entry.target, str):
        return entry.target
    if entry is not None:
        location, _, attribute = str(entry.target).partition(":")
        return _attribute(_import(location, reference.text), attribute, reference.text)
    if reference.scheme == "file":
        return _attribute(_import_file(Path(reference.location)), reference.attribute, reference.text)
    return _attribute(_import(reference.location, reference.text), reference.attribute, reference.text)


def kind_of(reference: Reference, factory: Callable[..., Any]) -> Kind:
    """A registered target says what it is; anything else is a network if it takes ``num_classes``."""
    if reference.entry is not None:
        return reference.entry.kind
    return "network" if "num_classes" in inspect.signature(factory).parameters else "block"


def places_of(reference: Reference, factory: Callable[..., Any]) -> list[Any]:
    """Where a target may say something of itself: its entry, its class or factory, the file or the module it is in."""
    if reference.entry is not None:
        return [reference.entry, factory]
    path = str(Path(reference.location).resolve())
    files = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == path]
    return [factory, *files, sys.modules.get(reference.location)]


def bind_options(name: str, factory: Callable[..., Any], kind: Kind, case: Case) -> dict[str, Any]:
    """Every option with its value, defaults included. Raises OptionError naming the valid keys."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    given = dict(case.options)
    unknown = [key for key in given if key not in named]
    if unknown and not takes_any:
        valid = ", ".join(named) or "none"
        raise OptionError(f"{name} has no option {unknown[0]!r}.{nearest(unknown[0], named)} Its options: {valid}")
    options = {key: p.default for key, p in named.items() if p.default is not inspect.Parameter.empty}
    options = (
        {**_width(name, named, kind, case), **options, **given}
        if case.dim is None
        else {**options, **_width(name, named, kind, case), **given}
    )
    missing = [key for key, p in named.items() if p.default is inspect.Parameter.empty and key not in options]
    if missing:
        raise OptionError(f"{name} needs a value for {', '.join(missing)}: give -p {missing[0]}=…")
    for key, value in given.items():
        _require_type(name, key, value, options, named.get(key))
    return {key: options[key] for key in [*named, *given] if key in options}


def require_extra(package: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency, or raise MissingExtraError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, extra, purpose) from error


def _width(name: str, named: Mapping[str, inspect.Parameter], kind: Kind, case: Case) -> dict[str, int]:
    """The channel options that ``--dim`` stands for."""
    dim = case.dim or DEFAULT_DIM
    if "dim" in named:
        if "dim" in dict(case.options) and case.dim is not None:
            raise OptionError(
                f"{name}: dim is given twice, by --dim {case.dim} and by -p dim={dict(case.options)['dim']}"
            )
        return {"dim": dim}
    if kind == "network":
        if case.dim is not None:
            raise OptionError(f"{name} is a network and has no dim; --dim is for blocks")
        return {}
    return dict.fromkeys(widths_to_give(named), dim)


def _require_type(
    name: str, key: str, value: Any, options: Mapping[str, Any], parameter: inspect.Parameter | None
) -> None:
    """Refuse a word where a number or a list is the default: constructors fail on it in unreadable ways."""
    if parameter is None or parameter.default in (inspect.Parameter.empty, None):
        return
    default = parameter.default
    numeric = isinstance(default, int | float) and not isinstance(default, bool)
    wrong = (
        (isinstance(default, bool) and not isinstance(value, bool))
        or (numeric and isinstance(value, str))
        or (isinstance(default, list | tuple) and isinstance(value, str))
    )
    if wrong:
        raise OptionError(f"{name}: {key} must be like its default {default!r}, got {value!r}")


def _import(location: str, reference: str) -> Any:
    try:
        return importlib.import_module(location)
    except ModuleNotFoundError as error:
        if error.name and location.startswith(error.name):
            raise TargetError(f"{reference}: no module named {error.name!r} can be imported from here") from error
        raise TargetError(f"{reference}: importing {location} failed: {error}") from error
    except Exception as error:  # importing runs the user's own code
        raise TargetError(f"{reference}: importing {location} failed: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"{path}: no such file")
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path.resolve()):
        return sys.modules[name]
    if name in sys.modules:  # a user's ``random.py`` must not replace the real one
        name = f"convbench_user_{name}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise TargetError(f"{path}: importing it failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _attribute(module: Any, attribute: str, reference: str) -> Callable[..., Any]:
    value = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [
                name for name, item in vars(module).items() if isinstance(item, type) and issubclass(item, nn.Module)
            ]
            raise TargetError(
                f"{reference}: it has no {attribute!r}.{nearest(attribute, names)} Modules in it: "
                f"{', '.join(names) or 'none'}"
            )
        value = getattr(value, part)
    if not callable(value):
        raise TargetError(f"{reference}: {attribute} is a {type(value).__name__}, not a class or factory")
    return value  # type: ignore[no-any-return]
