"""Whatever is typed ends with a message and an exit code; see `command_lines`."""

from __future__ import annotations

import shlex
from itertools import islice

from tests.fuzz.command_lines import faults, lines, run_here

LINES = 40


def test_no_command_line_ends_in_a_traceback() -> None:
    found = [(shlex.join(words), fault) for words in islice(lines(seed=0), LINES) for fault in faults(run_here(words))]
    assert not found
