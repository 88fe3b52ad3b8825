"""The exceptions that convbench raises. Each message names the value, the rule it broke and the way out.

The command line turns them into one line on stderr and an exit code: 2 for a request that cannot be met
(``UsageError``), 1 for a check that failed, 3 where a measurement failed and the rest went on.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar


class ConvbenchError(Exception):
    """Root of every error that convbench raises on purpose.

    kind: name of the class of what was raised, where that was in another process.
    """

    kind: str | None = None


class UsageError(ConvbenchError, ValueError):
    """The request was wrong: a name, an option, a shape, a device, a file."""


class UnknownNameError(UsageError):
    """A name that nothing is registered under; the message suggests the nearest valid one."""


class OptionError(UsageError):
    """An option that the target does not take, or a value it does not accept."""


class ShapeError(UsageError):
    """An input shape that is malformed, or that the target rejects."""


class DeviceError(UsageError):
    """A device that is unknown or not present on this machine."""


class OutputError(UsageError):
    """An output file that cannot be written, or whose suffix names no format."""


class TargetError(UsageError):
    """A target that cannot be imported, built or run."""


class WeightsError(UsageError):
    """A checkpoint that cannot be read, or that does not fit the target."""


class MissingExtraError(UsageError):
    """An optional dependency is absent; the message gives the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'convbench[{extra}]'")


class MeasurementError(ConvbenchError):
    """A measure could not be taken of a target that was built; the case is recorded with ``status=error``."""


class DeviceLostError(MeasurementError):
    """A call ended the device's context: whoever calls next in this process fails as well."""


class OutOfMemory(MeasurementError):  # noqa: N818
    """The device ran out of memory; the case is recorded with ``status=oom``."""


class CaseTimeout(MeasurementError):  # noqa: N818
    """The case took longer than allowed; it is recorded with ``status=timeout``."""


class NotDefinedError(MeasurementError):
    """A measure that says nothing about this target; where others were taken, the case is none the worse for it."""


class EmptyMapError(MeasurementError):
    """Nothing of the input reaches the output, so there is no receptive field to measure."""


T = TypeVar("T")
_LONGEST_NAME = 100


def placed(where: str, function: Callable[..., T], *arguments: Any) -> T:
    """What ``function`` gives; its UsageError says where the value was given."""
    try:
        return function(*arguments)
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from error


def nearest(name: str, valid: Iterable[str]) -> str:
    """`` Did you mean 'X'?`` for the valid name closest to ``name`` (case ignored), or an empty string.

    >>> nearest("mfra", ["MRFA", "PyConv"])
    " Did you mean 'MRFA'?"
    """
    if len(name) > _LONGEST_NAME:  # comparing takes the square of it
        return ""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""
