"""A real Slurm of two nodes on this machine, as ``.ci/slurm.sh`` starts it; without one these tests skip."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
STATE = Path(os.environ.get("CONVBENCH_SLURM") or _HOME / "convbench-ci" / "slurm")


@dataclass(frozen=True)
class Cluster:
    """The nodes n1 and n2. ``state``: where their daemons keep process ids and logs."""

    state: Path

    def lose(self, node: str) -> None:
        """End the node's daemon and everything that runs on it, without a word to anyone."""
        os.kill(int((self.state / f"d{node}.pid").read_text()), signal.SIGKILL)
        for pid in self.processes_on(node):
            os.kill(pid, signal.SIGKILL)

    def processes_on(self, node: str) -> Iterator[int]:
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and f"SLURMD_NODENAME={node}".encode() in (
                    process / "environ"
                ).read_bytes().split(b"\0"):
                    yield int(process.name)
            except OSError:
                continue

    def start(self, node: str) -> None:
        subprocess.run(["slurmd", "-N", node], check=True)

    def state_of(self, node: str) -> str:
        return slurm("sinfo", "--noheader", "--nodes", node, "--format=%t").split("\n")[0]

    def wait_until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds} s; squeue says:\n{slurm('squeue', '--array')}"
            time.sleep(0.5)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _why_not() -> str | None:
    if shutil.which("sinfo") is None or shutil.which("srun") is None:
        return "Slurm is not installed here; .ci/slurm.sh installs and starts one"
    if not (STATE / "slurm.conf").exists():
        return f"no test cluster in {STATE}; .ci/slurm.sh starts one"
    try:
        nodes = slurm("sinfo", "--noheader", "--Node", "--format=%N")
    except (subprocess.SubprocessError, OSError) as error:
        return f"the test cluster in {STATE} does not answer: {error}"
    return None if set(nodes.split()) == {"n1", "n2"} else f"the cluster in {STATE} has other nodes: {nodes.split()}"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two idle nodes and an empty queue, before and after."""
    monkeypatch.setenv("SLURM_CONF", str(STATE / "slurm.conf"))
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    if (reason := _why_not()) is not None:
        pytest.skip(reason)
    found = Cluster(STATE)
    _tidy(found)
    yield found
    _tidy(found)


def _tidy(cluster: Cluster) -> None:
    subprocess.run(["scancel", "--user", str(os.getuid())], check=False, capture_output=True)
    for node in ("n1", "n2"):
        pid = cluster.state / f"d{node}.pid"
        if not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists():
            cluster.start(node)
    cluster.wait_until(lambda: not slurm("squeue", "--noheader").strip())
    cluster.wait_until(lambda: {cluster.state_of(node).rstrip("*") for node in ("n1", "n2")} == {"idle"})
