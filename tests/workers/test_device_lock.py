"""Taking turns on a device: who waits is told for whom, not for ever, and needs neither a name nor a place to write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from convbench.errors import MeasurementError
from convbench.workers.device_lock import device_lock, physical_device

HOLD = (
    "import sys\nfrom convbench.workers.device_lock import device_lock\n"
    "with device_lock('cpu', print): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def _own_device_locks(own_device_locks: None) -> None: ...


@contextmanager
def holder(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the processor until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield other
        finally:
            other.stdin.close()


def assert_is_held(who: str, limit_s: float) -> None:
    with pytest.raises(MeasurementError, match=who), device_lock("cpu", lambda _: None, limit_s=limit_s):
        pytest.fail("got what another holds")


def test_who_waits_is_told_for_whom_and_since_when() -> None:
    said: list[str] = []
    with holder("profile", "MR\x1bFA") as other:
        assert other.stdin is not None
        threading.Timer(0.2, other.stdin.close).start()
        with device_lock("cpu", said.append) as held:
            assert held
            assert other.wait(10) == 0
    (line,) = said
    assert re.fullmatch(
        rf"waiting for cpu: process {other.pid} \(-c profile '?MR\\x1bFA'?, since \d\d:\d\d:\d\d\) is measuring on it",
        line,
    )


def test_waiting_has_a_limit_that_names_the_holder() -> None:
    with holder() as other:
        assert_is_held(rf"not free within 0\.1 s: process {other.pid} \(", limit_s=0.1)


def test_a_killed_holder_holds_nothing() -> None:
    with holder() as other:
        other.kill()
        other.wait()
        with device_lock("cpu", pytest.fail, limit_s=0) as held:
            assert held


@pytest.mark.parametrize(
    "content", [b"", b"[" * 4000, b'{"pid": "x"}', b'{"pid": 1e999, "command": 1, "since": 1e999}']
)
def test_a_spoilt_signature_is_another_convbench(content: bytes) -> None:
    with holder():
        (signed,) = Path(tempfile.gettempdir()).glob("convbench-*/cpu.holder")
        signed.write_bytes(content)
        assert_is_held("another convbench is measuring", limit_s=0)


def test_waiting_can_be_stopped() -> None:
    stopping = threading.Event()
    with holder():
        threading.Timer(0.1, stopping.set).start()
        with device_lock("cpu", lambda _: None, stopping) as held:
            assert not held


def test_nothing_stays_signed() -> None:
    with device_lock("cpu", pytest.fail):
        assert len(list(Path(tempfile.gettempdir()).glob("convbench-*/cpu.holder"))) == 1
    assert not list(Path(tempfile.gettempdir()).glob("convbench-*/cpu.holder"))


def test_a_user_without_a_name_has_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nameless)
    with device_lock("cpu", pytest.fail) as held:
        assert held
        assert (Path(tempfile.gettempdir()) / f"convbench-{os.getuid()}" / "cpu.lock").exists()


def test_where_nothing_can_be_written_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    said: list[str] = []
    with device_lock("cpu", said.append) as held:
        assert held
    assert len(said) == 1
    assert said[0].startswith("cpu cannot be locked")


def test_a_device_is_called_as_this_process_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-1/../x")
    assert physical_device("cuda") == "cuda:3"
    assert physical_device("xpu:1") == "xpu:1"
    assert physical_device("cpu:1") == "cpu"
    with device_lock(physical_device("cuda:1"), pytest.fail):
        assert list(Path(tempfile.gettempdir()).glob("convbench-*/cuda-GPU-1-..-x.lock"))


class Nvml(ModuleType):
    """Two GPUs of the models that the test wants."""

    def __init__(self, *models: str) -> None:
        super().__init__("pynvml")
        self.nvmlInit = lambda: None
        self.nvmlDeviceGetCount = lambda: len(models)
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetName = models.__getitem__
        self.nvmlDeviceGetUUID = lambda index: f"GPU-{index}{index}"


@pytest.mark.parametrize(
    ("visible", "models", "order", "name"),
    [
        (None, ("A", "A"), None, "cuda:GPU-11"),
        ("1,0", ("A", "A"), None, "cuda:GPU-00"),
        ("GPU-77,GPU-11", ("A", "A"), None, "cuda:GPU-11"),
        (None, ("A", "B"), None, "cuda:1"),  # CUDA's number 1 may be NVML's 0
        (None, ("A", "B"), "PCI_BUS_ID", "cuda:GPU-11"),
        ("0,9", ("A", "A"), None, "cuda:9"),
    ],
)
def test_a_gpu_has_one_name_whatever_the_variables_call_it(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, models: tuple[str, ...], order: str | None, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*models))
    for variable, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert physical_device("cuda:1") == name
