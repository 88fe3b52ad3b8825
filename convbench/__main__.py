"""``python -m convbench`` and the ``convbench`` script."""

from __future__ import annotations

import atexit
import os
import sys


def main() -> None:
    """Run the command line."""
    from convbench.workers.ending import end_as_by_ctrl_c

    end_as_by_ctrl_c()
    try:
        from convbench.cli.main import app

        app(prog_name="convbench")
    except KeyboardInterrupt:  # before the app could take it, or once more while it ended
        sys.exit(130)
    except SystemExit as stop:
        if "torch" in sys.modules and isinstance(stop.code, int):
            _leave(stop.code)
        raise


def _leave(code: int) -> None:
    """End now, with everything written and every exit handler run: tearing torch down takes most of a second."""
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read our output has gone; the interpreter deals with that
        return
    os._exit(code)


if __name__ == "__main__":
    main()
