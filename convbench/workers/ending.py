"""What ends the command ends it as Ctrl-C does: with what was complete, and nothing left behind."""

from __future__ import annotations

import signal


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, unless somebody has said otherwise (nohup does)."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
