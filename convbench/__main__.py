"""``python -m convbench`` and the ``convbench`` script."""

from __future__ import annotations

import atexit
import os
import sys


def main() -> None:
    """Run the command line."""
    from convbench.cli.streams import finish, take_over
    from convbench.workers.ending import end_as_by_ctrl_c

    stdout = take_over()
    _stand_in_for_the_user()
    end_as_by_ctrl_c()
    try:
        from convbench.cli.main import app

        app(prog_name="convbench")
        code = 0
    except KeyboardInterrupt:  # before the app could take it, or once more while it ended
        code = 130
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    code = finish(stdout, code)
    if "torch" in sys.modules:
        _leave(code)
    sys.exit(code)


def _stand_in_for_the_user() -> None:
    """A container's uid may have neither a name nor a home, for which torch, matplotlib and we ask."""
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except ImportError:
        return
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")
        os.environ.setdefault("HOME", "/nonexistent")


def _leave(code: int) -> None:
    """End now, with everything written and every exit handler run: tearing torch down takes most of a second."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
