"""Sweeps of tests do not wait for sweeps that measure on this machine in earnest."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_device_locks(own_device_locks: None) -> None: ...
