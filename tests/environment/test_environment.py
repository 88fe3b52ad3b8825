"""The environment record: complete, plain, and cheap."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import psutil
import pytest
import torch
from torch import nn

from convbench import __version__
from convbench.case import Case
from convbench.environment import Environment, Moment, environment, moment, steal_share
from convbench.report.environments import same_environment
from convbench.source import source_of

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def found() -> Environment:
    cases = [Case("MRFA", threads=2, seed=3), Case("MRFA", mode="training", seed=1)]
    variables = {
        "MALLOC_TOP_PAD_": "268435456",
        "OMP_NUM_THREADS": "2",
        "LD_PRELOAD": "/usr/lib/libjemalloc.so",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "HOME": "/home/me",
        "API_TOKEN": "secret",
    }
    return environment(cases, sources={"conv": source_of(nn.Conv2d(1, 1, 1))}, since=moment(), variables=variables)


def test_it_names_hardware_and_software(found: Environment) -> None:
    assert found.machine.cpu
    assert found.machine.logical_cores == psutil.cpu_count()
    assert found.machine.ram_bytes == psutil.virtual_memory().total
    assert found.torch.version == str(torch.__version__)
    assert found.torch.capability == torch.backends.cpu.get_cpu_capability()
    assert "PyTorch built with" in found.torch.build
    if torch.backends.mkldnn.is_available():
        assert re.fullmatch(r"\d+\.\d+[\w.]*", found.torch.onednn or "")
    assert found.packages["convbench"] == __version__
    assert found.packages["torch"]
    assert found.convbench.files == ("convbench/",)
    assert len(found.convbench.sha256 or "") == 64


def test_it_says_how_was_measured(found: Environment) -> None:
    execution = found.execution
    assert execution.seeds == (1, 3)
    assert execution.case_threads == (1, 2)
    assert execution.grad_modes == ("inference_mode", "enabled, forward and backward")
    assert execution.variables == {"OMP_NUM_THREADS": "2"}
    assert set(execution.allocator) == {"MALLOC_TOP_PAD_", "LD_PRELOAD", "PYTORCH_CUDA_ALLOC_CONF"}
    assert execution.threads == torch.get_num_threads()
    assert list(found.sources) == ["conv"]


def test_no_other_variable_of_the_user_gets_into_it(found: Environment) -> None:
    text = json.dumps(found.to_json())
    assert "secret" not in text
    assert "/home/me" not in text


def test_it_is_plain_json(found: Environment) -> None:
    row = found.to_json()
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["machine"]["affinity"] is None or isinstance(row["machine"]["affinity"], list)


def test_times_are_utc_and_the_load_is_taken_at_both_ends(found: Environment) -> None:
    assert TIME.fullmatch(found.start.utc)
    assert TIME.fullmatch(found.end.utc)
    assert abs(datetime.now(UTC).timestamp() - datetime.fromisoformat(found.end.utc).timestamp()) < 600
    assert found.start.load_1m is not None
    assert found.end.load_1m is not None


def test_without_a_start_it_is_the_processs() -> None:
    plain = environment()
    created = psutil.Process().create_time()
    assert datetime.fromisoformat(plain.start.utc).timestamp() == pytest.approx(created, abs=2)
    assert plain.start.load_1m is None
    assert steal_share(plain.start, plain.end, plain.machine.logical_cores) is None


def test_the_share_that_the_hypervisor_took() -> None:
    start, end = Moment("2026-01-01T00:00:00Z", steal_s=10.0), Moment("2026-01-01T00:01:40Z", steal_s=40.0)
    assert steal_share(start, end, cores=2) == pytest.approx(30 / 200)
    assert steal_share(start, start, cores=2) == 0.0


def test_two_records_of_one_machine_in_one_state_are_the_same_environment() -> None:
    first = environment([Case("MRFA", seed=1)]).to_json()
    second = environment([Case("MRFA", seed=2)], since=moment()).to_json()
    assert first != second
    assert same_environment(first, second)
    second["execution"]["allocator"] = {"LD_PRELOAD": "libjemalloc.so"}
    assert not same_environment(first, second)
