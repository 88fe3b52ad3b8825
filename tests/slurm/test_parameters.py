"""What ``--slurm`` takes, and what a task asks the cluster for. Needs no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convbench.case import Case
from convbench.cluster.slurm import SlurmRunner, parse_parameters, slurm_folder
from convbench.errors import UsageError
from convbench.sweeps.task import Task


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("partition=gpu,exclusive=1,time=60", {"partition": "gpu", "exclusive": True, "time": 60}),
        ("nodelist=n1,n2,time=5", {"nodelist": "n1,n2", "time": 5}),
        ("exclusive=user", {"exclusive": "user"}),
        ("exclusive=0", {"exclusive": False}),
        ("mem=8GB, gres=gpu:a100:1", {"mem": "8GB", "gres": "gpu:a100:1"}),
        ("mail-type=END", {"mail_type": "END"}),
        ("time=1:30:00", {"time": 90}),
        ("time=90:30", {"time": 91}),
        ("time=1-0", {"time": 1440}),
        ("time=2-01:30", {"time": 2 * 1440 + 90}),
        ("time=0:00:01", {"time": 1}),
    ],
)
def test_parameters_are_read_as_sbatch_takes_them(text: str, parameters: dict[str, Any]) -> None:
    assert parse_parameters(text) == parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partition", "write name=value pairs"),
        ("", "write name=value pairs"),
        ("partition=a,partition=b", "write each parameter once"),
        ("=3", "write each parameter once, as name=value"),
        ("time=soon", "time=soon: write minutes"),
        ("time=1:2:3:4", "write minutes"),
        ("nodes=2", "nodes=…: a case is one task of an array on one node"),
        ("array=0-3", "array=…: a case is one task"),
    ],
)
def test_other_parameters_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_parameters(text)
    assert message in str(caught.value)


@pytest.fixture
def runner_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(SlurmRunner, "_new_executor", lambda self: None)
    return lambda text, timeout_s=1800.0: SlurmRunner(tmp_path, parse_parameters(text), timeout_s)


def resources(runner: SlurmRunner, **conditions: Any) -> dict[str, Any]:
    ((asked, _),) = runner._batches([Task(Case("MRFA", **conditions), ("params",))])
    return asked


def test_a_timed_case_has_its_node_to_itself_unless_told_otherwise(runner_of: Any) -> None:
    assert resources(runner_of("partition=a"))["exclusive"] is True
    assert "exclusive" not in resources(runner_of("exclusive=0"))
    assert "exclusive" not in resources(runner_of("partition=a"), device="meta")


def test_a_case_gets_the_processors_and_accelerators_that_it_uses(runner_of: Any) -> None:
    assert resources(runner_of("partition=a"), threads=4)["cpus_per_task"] == 4
    assert resources(runner_of("cpus_per_task=8"), threads=4)["cpus_per_task"] == 8
    assert resources(runner_of("partition=a"), device="cuda")["gpus_per_node"] == 1
    assert "gpus_per_node" not in resources(runner_of("gres=gpu:a100:1"), device="cuda")


def test_the_time_limit_leaves_room_for_the_cases_own(runner_of: Any) -> None:
    assert resources(runner_of("partition=a", timeout_s=600))["time"] == 15
    assert resources(runner_of("time=30"))["time"] == 30
    assert resources(runner_of("time=1"))["signal_delay_s"] == 15  # not before the job has begun


def test_long_studies_become_several_arrays(runner_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convbench.cluster.slurm.longest_array", lambda: 4)
    tasks = [Task(Case("MRFA", dim=4 * (n + 1), device="cpu" if n < 9 else "meta"), ("params",)) for n in range(11)]
    batches = [batch for _, batch in runner_of("partition=a")._batches(tasks)]
    assert [len(batch) for batch in batches] == [4, 4, 1, 2]
    assert [task for batch in batches for task in batch] == tasks


def test_the_jobs_stand_beside_the_store(tmp_path: Path) -> None:
    assert slurm_folder(tmp_path / "a.jsonl") == (tmp_path / "a.jsonl.slurm").resolve()


def test_without_slurm_or_submitit_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from convbench.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'convbench\[slurm\]'"):
        SlurmRunner(tmp_path, {}, 1.0)
    monkeypatch.undo()
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no srun"):
        SlurmRunner(tmp_path, {}, 1.0)
