"""What Slurm's own commands say about the jobs of a sweep. Imports no torch."""

from __future__ import annotations

import getpass
import re
import subprocess
from dataclasses import dataclass

_SEPARATOR = "\x1f"
_LIMIT_S = 60
_USUAL_ARRAY_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """One array task in the queue. ``index``: its place in the array; ``node``: where it runs, or empty."""

    job_id: str
    name: str
    index: int
    state: str
    node: str
    reason: str

    @property
    def held(self) -> bool:
        """Whether Slurm put it back after a node failed to start it, and waits for someone to release it."""
        return self.state == "PENDING" and "requeued held" in self.reason


def queued_jobs(name_prefix: str) -> list[Job] | None:
    """This user's jobs whose name starts so, waiting or running; None when Slurm does not answer."""
    fields = _SEPARATOR.join(("%i", "%j", "%K", "%T", "%N", "%r"))
    text = _output("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", f"--format={fields}")
    if text is None:
        return None
    jobs = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(_SEPARATOR)]
        if len(cells) == 6 and cells[1].startswith(name_prefix):
            job_id, name, index, state, node, reason = cells
            jobs.append(Job(job_id, name, int(index) if index.isdigit() else 0, state, node, reason))
    return jobs


def release(job: Job) -> None:
    """Let a held job start again."""
    _output("scontrol", "release", job.job_id)


def longest_array() -> int:
    """How many tasks one job array may have here."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _output("scontrol", "show", "config") or "")
    return min(_USUAL_ARRAY_SIZE, int(found[1]) - 1) if found else _USUAL_ARRAY_SIZE


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
