"""Tasks on a Slurm cluster, through submitit: job arrays, one task a job, records back as files. Imports no torch.

Beside the store ``sweep.jsonl`` stands the folder ``sweep.jsonl.slurm``: ``jobs/`` with submitit's files and logs,
``results/`` with the records that jobs left, ``batches/`` with the tasks of every array that was submitted. A batch is
written down before it is submitted and carries the name that squeue shows, so that a later call finds the jobs of an
earlier one whenever that was killed. Both the folder and the working directory must be visible to the nodes.

A job whose node is lost is requeued by Slurm; one that runs out of time or is preempted, by submitit; one that left the
queue without a record (cancelled, failed to start) is submitted again here, three times at most.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.cluster.slurm_job import MOST_TIMES_LATE, MeasureTask, read_result, result_path
from convbench.cluster.slurm_queue import Job, longest_array, queued_jobs, release
from convbench.errors import MissingExtraError, UsageError
from convbench.measures.outcome import Outcome
from convbench.notation import timestamp
from convbench.records import record_of
from convbench.sweeps.events import Ended, Finished, Post, Said, Started
from convbench.sweeps.task import Task

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from convbench.sweeps.sweep import RunnerOf

_SUBMISSIONS = 3
_RESULT_LOOKS_S = 1.0
_QUEUE_LOOKS_S = 10.0
_VANISHED_AFTER_S = 20.0  # a file written on a node may take that long to be seen here

_FIXED = ("array", "job_name", "nodes", "ntasks", "ntasks_per_node", "requeue", "output", "error")
_GPU_REQUESTS = ("gpus_per_node", "gpus_per_task", "num_gpus", "gpus", "gres")


def parse_parameters(text: str) -> dict[str, Any]:
    """``"partition=gpu,exclusive=1,time=60"`` as parameters of sbatch; ``nodelist=n1,n2`` may hold commas.

    time: minutes, or [days-]hours:minutes:seconds. Raises UsageError.
    """
    pairs: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals:
            last = key.strip().replace("-", "_")
            if not last.isidentifier() or last in pairs:
                raise UsageError(f"--slurm {part!r}: write each parameter once, as name=value")
            pairs[last] = value.strip()
        elif last:
            pairs[last] += f",{part.strip()}"
        else:
            raise UsageError(f"--slurm {text!r}: write name=value pairs with commas, such as partition=gpu,exclusive=1")
    for key in pairs:
        if key in _FIXED:
            raise UsageError(f"--slurm {key}=…: a case is one task of an array on one node; this cannot be changed")
    return {key: _parameter(key, value) for key, value in pairs.items()}


def _parameter(key: str, value: str) -> Any:
    if key == "exclusive" and value.lower() in ("1", "true", "yes", "0", "false", "no"):
        return value.lower() in ("1", "true", "yes")
    if key == "time":
        return _minutes(value)
    return int(value) if value.isdigit() else value


def _minutes(text: str) -> int:
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]) or len(parts) > 3:
        raise UsageError(f"--slurm time={text}: write minutes, or [days-]hours:minutes:seconds")
    if len(parts) == 1 and not days:
        return int(text)
    if len(parts) == 2 and not days:
        return math.ceil(int(parts[0]) + int(parts[1]) / 60)
    hours, minutes, seconds = (int(part) for part in [*parts, "0", "0"][:3])
    return math.ceil(int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60)


def slurm_folder(store: Path) -> Path:
    """Where the jobs of the sweep into ``store`` keep their files."""
    return store.with_name(f"{store.name}.slurm").resolve()


def slurm_runner(text: str | None) -> RunnerOf | None:
    """What makes the runner for these parameters of sbatch; None for none. Raises what `parse_parameters` does."""
    if text is None:
        return None
    parameters = parse_parameters(text)
    return lambda store, timeout_s: SlurmRunner(slurm_folder(store), parameters, timeout_s)


class SlurmRunner:
    """Carries out tasks as jobs. See `convbench.sweeps.events.Runner`.

    folder: as `slurm_folder` gives it. parameters: as `parse_parameters` gives them. timeout_s: of a case.
    Raises UsageError where there is no Slurm, MissingExtraError without submitit.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], timeout_s: float) -> None:
        self._folder = folder
        self._prefix = f"convbench-{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}-"
        self._parameters = dict(parameters)
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._waiting: dict[str, Task] = {}
        self._submissions: Counter[str] = Counter()
        self._missing_since: dict[str, float] = {}
        self._running: set[str] = set()
        self._logs: dict[str, Path] = {}
        try:
            self._new_executor()
        except RuntimeError as error:
            raise UsageError("--slurm: this machine has no srun, so it is not part of a Slurm cluster") from error

    def start(self, tasks: Sequence[Task], post: Post) -> None:
        """Submit what is not with Slurm yet, and collect, in a thread."""
        for part in ("jobs", "results", "batches"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._waiting = {task.key: task for task in tasks}
        threading.Thread(target=self._run, args=(post,), daemon=True).start()

    def settled(self, task: Task) -> None:
        """Forget the file that the job left."""
        result_path(self._folder, task.key).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop collecting; the jobs go on."""
        self._stopping.set()

    def parting_words(self) -> str:
        """How many cases are left to Slurm."""
        left = len(self._waiting)
        return (
            f"{left} cases stay with Slurm; the same command picks them up "
            f"(squeue --me | grep {self._prefix}, scancel to end them)"
        )

    def _run(self, post: Post) -> None:
        try:
            self._collect_until_done(post)
        except BaseException as error:  # told by the sweep's own thread
            post(Ended(error))
        else:
            post(Ended())

    def _collect_until_done(self, post: Post) -> None:
        looked = -math.inf
        while not self._stopping.is_set():
            self._collect(post)
            if not self._waiting:
                return
            if time.monotonic() - looked >= _QUEUE_LOOKS_S:
                jobs = queued_jobs(self._prefix)
                if jobs is not None:
                    first = looked == -math.inf
                    self._collect(post)  # a job that left the queue has left its record before
                    self._look_after(jobs, first, post)
                    looked = time.monotonic()
            self._stopping.wait(_RESULT_LOOKS_S)

    def _collect(self, post: Post) -> None:
        for key in self._left_results():
            if (finished := read_result(self._folder, self._waiting[key])) is not None:
                del self._waiting[key]
                post(finished)

    def _left_results(self) -> list[str]:
        return [path.stem for path in (self._folder / "results").glob("*.json") if path.stem in self._waiting]

    def _look_after(self, jobs: Sequence[Job], first: bool, post: Post) -> None:
        """Submit what Slurm does not have; ``first``: whether that is so because nothing was submitted yet."""
        queued = {key: job for job in jobs if (key := self._key_of(job)) in self._waiting}
        if first and queued:
            post(Said(f"{len(queued)} cases are with Slurm from an earlier call"))
        for key, job in queued.items():
            self._missing_since.pop(key, None)
            if job.held:
                release(job)
            if job.state == "RUNNING" and key not in self._running:
                self._running.add(key)
                post(Started(self._waiting[key], job.node))
        now = time.monotonic()
        lost = [
            task
            for key, task in self._waiting.items()
            if key not in queued and (first or now - self._missing_since.setdefault(key, now) >= _VANISHED_AFTER_S)
        ]
        given_up = [task for task in lost if self._submissions[task.key] >= _SUBMISSIONS]
        for task in given_up:
            del self._waiting[task.key]
            post(self._failure(task))
        self._submit([task for task in lost if task.key in self._waiting], post)

    def _submit(self, tasks: Sequence[Task], post: Post) -> None:
        if not tasks:
            return
        again = sum(1 for task in tasks if self._submissions[task.key])
        for parameters, batch in self._batches(tasks):
            self._submit_batch(parameters, batch)
        post(Said(f"submitted {len(tasks)} cases to Slurm" + (f", {again} of them again" if again else "")))

    def _batches(self, tasks: Sequence[Task]) -> Iterator[tuple[dict[str, Any], list[Task]]]:
        """Tasks that ask for the same resources, no more than one array holds."""
        limit = longest_array()
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            groups.setdefault(json.dumps(self._resources(task), sort_keys=True), []).append(task)
        for described, group in groups.items():
            for begin in range(0, len(group), limit):
                yield json.loads(described), group[begin : begin + limit]

    def _resources(self, task: Task) -> dict[str, Any]:
        """What the user asked for, completed so that no other job shares the device under test."""
        minutes = self._parameters.get("time") or math.ceil(self._timeout_s / 60) + 5
        asked = {
            "cpus_per_task": task.case.threads,
            "signal_delay_s": min(90, 15 * minutes),
            **self._parameters,
            "time": minutes,
        }
        if task.case.device_type == "cpu":
            asked.setdefault("exclusive", True)
        elif task.case.device_type != "meta" and not any(name in asked for name in _GPU_REQUESTS):
            asked["gpus_per_node"] = 1
        if asked.get("exclusive") is False:
            del asked["exclusive"]
        return asked

    def _submit_batch(self, parameters: Mapping[str, Any], tasks: Sequence[Task]) -> None:
        number = 1 + max((int(path.stem) for path in (self._folder / "batches").glob("*.json")), default=0)
        keys = [task.key for task in tasks]
        (self._folder / "batches" / f"{number}.json").write_text(json.dumps(keys), encoding="utf-8")
        executor = self._new_executor()
        limit_s = 60 * parameters["time"] - parameters["signal_delay_s"]
        extra: dict[str, Any] = {"requeue": True}
        for name, value in {"job_name": f"{self._prefix}{number}", **parameters}.items():
            try:
                executor.update_parameters(**{name: value})
            except ValueError:  # submitit does not know it; sbatch may
                extra[name] = value
        executor.update_parameters(additional_parameters=extra)
        try:
            with executor.batch():
                jobs = [
                    executor.submit(MeasureTask(task.to_json(), str(self._folder), self._timeout_s, limit_s))
                    for task in tasks
                ]
        except Exception as error:  # submitit has several kinds for what sbatch said
            raise UsageError(f"Slurm refused the jobs: {error}") from error
        for key, job in zip(keys, jobs, strict=True):
            self._logs[key] = job.paths.stderr
            self._submissions[key] += 1
            self._missing_since.pop(key, None)
            self._running.discard(key)

    def _new_executor(self) -> SlurmExecutor:
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise MissingExtraError("submitit", "slurm", "--slurm") from error
        return submitit.SlurmExecutor(self._folder / "jobs", max_num_timeout=MOST_TIMES_LATE)

    def _key_of(self, job: Job) -> str:
        path = self._folder / "batches" / f"{job.name.removeprefix(self._prefix)}.json"
        try:
            keys = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return ""
        return str(keys[job.index]) if job.index < len(keys) else ""

    def _failure(self, task: Task) -> Finished:
        log = self._last_log(task)
        late = "TIME LIMIT" in log
        reason = f"Slurm gave no record in {_SUBMISSIONS} submissions" + (f"; the last log ends:\n{log}" if log else "")
        status = "timeout" if late else "error"
        record = replace(record_of(Outcome(task.case)), status=status, error=reason, created_at=timestamp())
        return Finished(task, record, None, 0.0)

    def _last_log(self, task: Task) -> str:
        """The end of the error log of the task's latest job."""
        path = self._logs[task.key]
        return "\n".join(path.read_text(errors="replace").splitlines()[-5:]) if path.exists() else ""
