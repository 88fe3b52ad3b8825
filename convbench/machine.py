"""The machine as its operating system describes it. Imports no torch; what a system does not tell is None."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    """os, kernel: its name and release, as ``Linux 6.1.0``. distribution: as ``Debian GNU/Linux 12``.

    cpu: the model's name. affinity: logical cores that this process may run on. quota_cores: processor time that the
    container allows, in cores. governor: of the clock, several joined by ``,``. turbo: whether clocks above the base
    one are allowed. max_mhz: highest clock. caches: bytes of each level, as ``L2``. huge_pages: when the kernel makes
    them. hypervisor: what the machine runs on, ``none`` where the processor says that there is none. container: its
    kind.
    """

    os: str
    kernel: str
    distribution: str | None
    architecture: str
    cpu: str
    physical_cores: int | None
    logical_cores: int | None
    affinity: tuple[int, ...] | None
    quota_cores: float | None
    governor: str | None
    turbo: bool | None
    max_mhz: float | None
    caches: dict[str, int]
    ram_bytes: int
    swap_bytes: int
    huge_pages: str | None
    hypervisor: str | None
    container: str | None

    @property
    def fingerprint(self) -> str:
        """A short digest of the hardware that is the same after a restart and under another affinity or load."""
        lasting = (self.architecture, self.cpu, self.physical_cores, self.logical_cores, self.hypervisor)
        gibibytes = round(self.ram_bytes / 2**30)  # the kernel keeps a little for itself, and not always the same
        return hashlib.sha256(repr((lasting, gibibytes)).encode()).hexdigest()[:16]


def machine(root: Path = _ROOT) -> Machine:
    """This machine. ``root``: where ``/proc`` and ``/sys`` are."""
    import psutil

    return Machine(
        os=platform.system(),
        kernel=platform.release(),
        distribution=_distribution(),
        architecture=platform.machine(),
        cpu=cpu_model(root),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count(),
        affinity=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        quota_cores=_quota(root),
        governor=_governor(root),
        turbo=_turbo(root),
        max_mhz=_clock(),
        caches=_caches(root),
        ram_bytes=psutil.virtual_memory().total,
        swap_bytes=psutil.swap_memory().total,
        huge_pages=_huge_pages(root),
        hypervisor=_hypervisor(root),
        container=_container(root),
    )


def cpu_model(root: Path = _ROOT) -> str:
    """The processor's name, as its maker gives it."""
    for line in _lines(root / "proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Processor"):
            return value.strip()
    return platform.processor() or platform.machine()


def throttle_count(root: Path = _ROOT) -> int | None:
    """How often the cores have slowed down because they were hot, since the machine started."""
    counts = [_number(path) for path in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def _clock() -> float | None:
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):  # some virtual machines have no clock to ask for
        return None
    return float(frequency.max) or None if frequency is not None else None


def _distribution() -> str | None:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _governor(root: Path) -> str | None:
    paths = root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    return ",".join(sorted({text for path in paths if (text := _text(path))})) or None


def _turbo(root: Path) -> bool | None:
    forbidden = _number(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    if forbidden is not None:
        return not forbidden
    allowed = _number(root / "sys/devices/system/cpu/cpufreq/boost")
    return None if allowed is None else bool(allowed)


def _quota(root: Path) -> float | None:
    """Processor time that the container may use, in cores: cgroup 2, else cgroup 1."""
    quota, _, period = (_text(root / "sys/fs/cgroup/cpu.max") or "").partition(" ")
    if not quota:
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us") or ""
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us") or ""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _caches(root: Path) -> dict[str, int]:
    """Bytes of the caches that the first core sees, by level; data and unified ones."""
    sizes = {}
    for folder in sorted(root.glob("sys/devices/system/cpu/cpu0/cache/index*")):
        size = _text(folder / "size") or ""
        if _text(folder / "type") in ("Data", "Unified") and size.endswith("K"):
            sizes[f"L{_text(folder / 'level')}"] = 1024 * int(size[:-1])
    return sizes


def _huge_pages(root: Path) -> str | None:
    words = (_text(root / "sys/kernel/mm/transparent_hugepage/enabled") or "").split()
    return next((word.strip("[]") for word in words if word.startswith("[")), None)


def _hypervisor(root: Path) -> str | None:
    flags = next((line for line in _lines(root / "proc/cpuinfo") if line.startswith("flags")), None)
    if flags is None:
        return None
    if "hypervisor" not in flags.split():
        return "none"
    named = (_text(root / "sys/class/dmi/id/sys_vendor"), _text(root / "sys/class/dmi/id/product_name"))
    return " ".join(name for name in named if name) or _text(root / "sys/hypervisor/type") or "unnamed"


def _container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    return os.environ.get("SINGULARITY_NAME") and "singularity"


@functools.cache
def _lines(path: Path) -> list[str]:
    return (_text(path) or "").splitlines()


def _number(path: Path) -> int | None:
    text = _text(path) or ""
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
