"""What operating systems say of a machine, from files laid out as they lay them out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from convbench.machine import Machine, cpu_model, machine, throttle_count


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An Intel server with two cores, in a container with one and a half of them."""
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Xeon 9000 @ 2.0GHz\nflags\t\t: fpu sse2 hypervisor avx2\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "1\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
        "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "32K\n",
        "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
        "sys/devices/system/cpu/cpu0/cache/index1/size": "64K\n",
        "sys/devices/system/cpu/cpu0/cache/index3/level": "3\n",
        "sys/devices/system/cpu/cpu0/cache/index3/type": "Unified\n",
        "sys/devices/system/cpu/cpu0/cache/index3/size": "8192K\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/class/dmi/id/sys_vendor": "QEMU\n",
        "sys/class/dmi/id/product_name": "Standard PC\n",
        ".dockerenv": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_files_are_read_as_linux_writes_them(root: Path) -> None:
    found = machine(root)
    assert found.cpu == "Xeon 9000 @ 2.0GHz"
    assert found.governor == "performance,powersave"
    assert found.turbo is False
    assert found.caches == {"L1": 32 * 1024, "L3": 8192 * 1024}
    assert found.quota_cores == 1.5
    assert found.huge_pages == "madvise"
    assert found.hypervisor == "QEMU Standard PC"
    assert found.container == "docker"
    assert throttle_count(root) == 7


def test_what_is_not_there_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "SINGULARITY_NAME"):
        monkeypatch.delenv(name, raising=False)
    found = machine(tmp_path)
    unknown = ("governor", "turbo", "quota_cores", "huge_pages", "hypervisor", "container")
    assert [getattr(found, name) for name in unknown] == [None] * 6
    assert found.caches == {}
    assert throttle_count(tmp_path) is None
    assert cpu_model(tmp_path)
    assert found.ram_bytes == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_quotas_of_both_kinds_of_container(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert machine(tmp_path).quota_cores == quota


def test_a_real_processor_says_that_nothing_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name : Ryzen\nflags : fpu avx2\n")
    assert machine(tmp_path).hypervisor == "none"


def test_the_fingerprint_is_the_hardwares_alone(root: Path) -> None:
    found = machine(root)
    assert machine(root).fingerprint == found.fingerprint
    assert len(found.fingerprint) == 16
    same = replace(found, affinity=(0,), governor="performance", kernel="9.9", ram_bytes=found.ram_bytes - 2**20)
    assert same.fingerprint == found.fingerprint
    for other in (
        {"cpu": "Xeon 9001"},
        {"logical_cores": 64},
        {"ram_bytes": 2 * found.ram_bytes},
        {"hypervisor": "KVM"},
    ):
        assert replace(found, **other).fingerprint != found.fingerprint  # type: ignore[arg-type]


def test_this_machine_can_be_written_as_json() -> None:
    found = machine()
    assert isinstance(found, Machine)
    assert json.loads(json.dumps(asdict(found)))["cpu"] == found.cpu


def test_the_machine_is_read_without_torch() -> None:
    code = "import sys; from convbench.machine import machine; machine(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
