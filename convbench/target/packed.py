"""A case on its way to another process, with what only this process has: an instance, a target registered at run time.

What has no reference goes into a file, which the channel between a command and its workers names: no case can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.case import Case
from convbench.errors import TargetError
from convbench.registry import Entry, adopt, entries, resolve

if TYPE_CHECKING:
    from torch import nn

    from convbench.target.blueprint import Blueprint


@dataclass(frozen=True, slots=True)
class Packed:
    """A case, and the file that holds its instance or its registration; None where the case's target says it all."""

    case: Case
    file: str | None = None

    @property
    def digest(self) -> str:
        """A name for what it builds, for files that are made of that."""
        return self.case.key + hashlib.sha256((self.file or "").encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain JSON values from which `from_json` restores it."""
        return {"case": self.case.to_json(), "file": self.file}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Packed:
        """What `to_json` described."""
        return cls(Case.from_json(row["case"]), row["file"])

    def blueprint(self) -> Blueprint:
        """Import the target, or read the file. Raises UsageError."""
        import torch

        from convbench.target.blueprint import blueprint, instance_blueprint

        if self.file is None:
            return blueprint(self.case)
        content = torch.load(self.file, weights_only=False)  # written by the process that asks, for this one
        if "entry" in content:
            adopt(content["entry"])
            return blueprint(self.case)
        return instance_blueprint(content["module"], self.case, content["args"], content["kwargs"])


def pack(case: Case | Packed, folder: Path) -> Packed:
    """``case`` as a worker can build it. Raises UsageError for a target that is unknown or cannot be pickled."""
    if isinstance(case, Packed):
        return case
    entry = resolve(case.target).entry
    if entry is None or (isinstance(entry.target, str) and entry.origin != "convbench.register"):
        return Packed(case)
    return Packed(case, _save({"entry": entry}, case.target, folder / f"{case.key}.pt"))


def pack_instance(
    module: nn.Module,
    case: Case,
    folder: Path,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Packed:
    """``module`` and the arguments of its call, drawn by ``case`` unless given, for another process.

    Raises TargetError where they cannot be pickled.
    """
    content = {"module": module, "args": None if args is None else tuple(args), "kwargs": dict(kwargs or {})}
    return Packed(case, _save(content, type(module).__name__, folder / f"{type(module).__name__}.pt"))


def pack_factory(factory: Callable[..., nn.Module], case: Case, folder: Path) -> Packed:
    """A class or function of the caller's own, under its name, for another process, which builds it as ``case`` says.

    Raises TargetError where it cannot be pickled.
    """
    name = getattr(factory, "__name__", type(factory).__name__).strip("<>")
    if name.lower() in entries():
        name = f"{name}_given"  # in the worker, it must not stand in for what is registered
    entry = Entry(name, "block", factory, origin="convbench.register")
    return Packed(replace(case, target=name), _save({"entry": entry}, name, folder / f"{name}.pt"))


def _save(content: Mapping[str, Any], name: str, path: Path) -> str:
    import cloudpickle
    import torch

    try:
        torch.save(content, path, pickle_module=cloudpickle)  # takes classes of a script or a notebook along
    except Exception as error:  # pickling runs the user's own code
        raise TargetError(f"{name} cannot be sent to a measuring process: {error}") from error
    return str(path)
