"""What this machine can do and how small a difference it can show, as it is kept. Imports no torch.

`convbench.measures.calibrate` measures it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convbench.errors import OutputError
from convbench.machine import machine

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """One device of one machine, used with a number of threads.

    machine: fingerprint of the hardware. flops_per_s: by dtype. bytes_per_s: read and written together by a large copy.
    timer_resolution_ns, timer_cost_ns: shortest step of the clock, and time that reading it takes.
    load_1m: runnable processes before. governor, turbo: of the processor's clock. throttles: how often cores slowed
    down because they were hot meanwhile.
    noise: one row an input shape: the fields of `convbench.measures.noise.NoiseFloor`; empty where not measured.
    """

    machine: str
    device: str
    device_name: str
    threads: int
    torch_version: str
    created_at: str
    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    copy_bytes: int
    timer_resolution_ns: int
    timer_cost_ns: float
    load_1m: float
    governor: str | None
    turbo: bool | None
    throttles: int | None
    noise: tuple[Mapping[str, Any], ...] = ()

    @property
    def noise_floor(self) -> float | None:
        """Differences under this share cannot be told apart here: the largest over the shapes measured."""
        return max((row["smallest_difference"] for row in self.noise), default=None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands against trusting the figures."""
        found = []
        if self.load_1m > self.threads:
            found.append(f"the load was {self.load_1m:g} before: other processes took part of the peaks")
        if self.governor not in (None, "performance"):
            found.append(f"the clock's governor is {self.governor}, not performance: times depend on what ran before")
        if self.turbo:
            found.append("turbo is on: the clock depends on temperature and on the other cores")
        if self.throttles:
            found.append(f"cores slowed down {self.throttles} times because they were hot")
        found += [
            f"at {row['input_shape']} the two instances of one block were timed under disturbance ({row['noise']})"
            for row in self.noise
            if row["noise"] not in (None, "quiet")
        ]
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain values from which `from_json` restores it."""
        return {"schema": _SCHEMA, **asdict(self), "noise": [dict(row) for row in self.noise]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_json` described."""
        fields = {name: value for name, value in row.items() if name != "schema"}
        return cls(**{**fields, "noise": tuple(fields["noise"])})


def load_calibration(device: str = "cpu", threads: int = 1, device_name: str | None = None) -> Calibration | None:
    """What `calibrate` kept for this machine, device, number of threads and version of torch; None where there is none.

    device_name: of an accelerator, what the hardware calls itself.
    A figure of other hardware, or of another torch, is none of this machine's.
    """
    try:
        row = json.loads(calibration_file(device, threads, device_name).read_text(encoding="utf-8"))
        calibration = Calibration.from_json(row) if row.get("schema") == _SCHEMA else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return calibration if calibration is not None and calibration.torch_version == version("torch") else None


def keep_calibration(calibration: Calibration) -> Path:
    """Write it where `load_calibration` finds it, and give the file. Raises OutputError."""
    path = calibration_file(calibration.device, calibration.threads, calibration.device_name)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(calibration.to_json(), indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_kept(path, error) from error
    return path


def require_place(device: str, threads: int, device_name: str) -> None:
    """Raise OutputError, before anything is measured, where the calibration could not be kept."""
    path = calibration_file(device, threads, device_name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_kept(path, error) from error
    if not os.access(path.parent, os.W_OK):
        raise _not_kept(path, PermissionError(13, "permission denied"))


def calibration_file(device: str = "cpu", threads: int = 1, device_name: str | None = None) -> Path:
    """Where the calibration of this machine is kept."""
    parts = [machine().fingerprint, device.replace(":", "-"), f"{threads}-threads"]
    if device != "cpu":
        parts.append("".join(letter if letter.isalnum() else "-" for letter in device_name or ""))
    return cache_folder() / "calibrations" / f"{'_'.join(parts)}.json"


def cache_folder() -> Path:
    """The user's cache folder for convbench: XDG_CACHE_HOME where it is set, else where the system keeps caches."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named and Path(named).is_absolute():  # the specification asks for relative ones to be ignored
        return Path(named) / "convbench"
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "convbench"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "convbench" / "Cache"
    return Path.home() / ".cache" / "convbench"


def _not_kept(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the calibration cannot be kept in {path}: {error.strerror}; "
        "set XDG_CACHE_HOME to a folder that can be written"
    )
