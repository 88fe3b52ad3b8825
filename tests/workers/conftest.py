"""The jobs beside these tests can be imported, here and in workers."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytest.MonkeyPatch().syspath_prepend(str(HERE))
