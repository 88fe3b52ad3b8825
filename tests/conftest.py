"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The suite runs one process a core. Two thread pools that share two cores wait for each other, up to 40 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a script starts in its background ignores Ctrl-C, and so would the commands that the tests send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the cluster: its tests wait more than they compute, and nothing should wait for them in the end."""
    items.sort(key=lambda item: "slurm" not in item.path.parts)


@pytest.fixture
def own_device_locks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test not wait for what is measured on this machine in earnest, or in another test."""
    folder: Path = tmp_path_factory.mktemp("locks")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
