"""Settings of the whole suite."""

from __future__ import annotations

import os

# The suite runs one process a core. Two thread pools that share two cores wait for each other, up to 40 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
