"""Jobs that misbehave in every way that strangers' code was seen to, each once."""

from __future__ import annotations

import _thread
import atexit
import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from convbench.workers.worker import Send

Behaviour = Callable[[], Any]

FAILS: dict[str, tuple[Behaviour, str, str]] = {}
"""What each does, with the status of its failure and a pattern of its reason."""

ANSWERS: dict[str, Behaviour] = {}
"""What each does, and is answered for all the same; an answer that is None is not asked for."""

FOREVER_S = 600.0


def run(request: Mapping[str, Any], send: Send) -> Any:
    """Do what is called ``request["how"]``."""
    how = request["how"]
    return FAILS[how][0]() if how in FAILS else ANSWERS[how]()


def well(request: Mapping[str, Any], send: Send) -> Any:
    """A job that notices what the one before it has left behind."""
    print("well")
    time.sleep(0.01)
    return {
        "directory": os.getcwd(),
        "left": os.environ.get("LEFT_BEHIND"),
        "recursion": sys.getrecursionlimit(),
        "collects": gc.isenabled(),
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }


def fails(status: str, reason: str) -> Callable[[Behaviour], Behaviour]:
    def keep(behaviour: Behaviour) -> Behaviour:
        FAILS[behaviour.__name__] = (behaviour, status, reason)
        return behaviour

    return keep


def answers(behaviour: Behaviour) -> Behaviour:
    ANSWERS[behaviour.__name__] = behaviour
    return behaviour


# --- leaving -----------------------------------------------------------------------------------------------------


@fails("error", r"SystemExit: the code under test called exit\(0\)")
def exits_well() -> NoReturn:
    sys.exit(0)


@fails("error", r"exit\(broken\)")
def exits_with_text() -> NoReturn:
    sys.exit("broken")


@fails("error", "exit code 0 before it had an answer")
def leaves_well() -> NoReturn:
    os._exit(0)


@fails("error", "exit code 77 .*these were its last words")
def leaves_with_words() -> NoReturn:
    print("these were its last words", file=sys.stderr)
    os._exit(77)


@fails("error", "SIGABRT")
def aborts() -> NoReturn:
    os.abort()


@fails("error", "SIGSEGV")
def reads_from_nowhere() -> None:
    ctypes.string_at(1)


@fails("error", "SIGTERM")
def ends_its_group() -> None:
    os.killpg(0, signal.SIGTERM)
    time.sleep(FOREVER_S)


@fails("oom", "SIGKILL.*memory")
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@fails("oom", "SIGKILL|SIGTERM|before it had an answer")
def kills_its_guard() -> None:
    sleeper()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(FOREVER_S)


@fails("error", "SIGUSR2")
def is_signalled_by_a_timer() -> None:
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(FOREVER_S)


@fails("error", "exit code 0")
def becomes_another_program() -> None:
    os.execv("/bin/true", ["true"])


# --- raising -----------------------------------------------------------------------------------------------------


@fails("error", "^KeyboardInterrupt")
def interrupts() -> NoReturn:
    raise KeyboardInterrupt


@fails("error", "^GeneratorExit")
def closes_a_generator() -> NoReturn:
    raise GeneratorExit


@fails("error", "^Root")
def raises_no_exception() -> NoReturn:
    class Root(BaseException): ...

    raise Root


@fails("error", "^MuteError: an error that cannot be shown")
def raises_what_has_no_text() -> NoReturn:
    class MuteError(Exception):
        def __str__(self) -> str:
            sys.exit("no text")

    raise MuteError


@fails("error", r"cannot open caf\?\\x00\\x1b\[2J\\x07")
def raises_what_cannot_be_encoded() -> NoReturn:
    raise ValueError("cannot open caf\udce9\0\x1b[2J\x07")


@fails("error", r"^Ba\\x1b\[31md: no")
def raises_a_class_without_a_name() -> NoReturn:
    raise type("Ba\x1b[31md", (Exception,), {})("no")


@fails("error", "^ValueError: xxx")
def raises_five_megabytes() -> NoReturn:
    raise ValueError("x" * 5_000_000)


@fails("error", "^ValueError: line 0\nline 1\nline 2 …$")
def raises_many_lines() -> NoReturn:
    raise ValueError("\n".join(f"line {number}" for number in range(100_000)))


@fails("error", "^ExceptionGroup: many")
def raises_many_at_once() -> NoReturn:
    raise ExceptionGroup("many", [ValueError(str(number)) for number in range(10_000)])


@fails("error", "^RecursionError")
def recurses() -> None:
    recurses()


@fails("error", "^ModuleNotFoundError")
def imports_what_is_not_there() -> None:
    __import__("no_such_module_anywhere")


@fails("oom", "^MemoryError")
def runs_out_of_memory() -> None:
    bytearray(1 << 62)


@fails("oom", "^MemoryError")
def meets_a_limit_of_memory() -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, limits[1]))
    try:
        bytearray(1 << 33)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


# --- not coming back ---------------------------------------------------------------------------------------------


@fails("timeout", "no sign of life for 1.5 s")
def sleeps() -> None:
    time.sleep(FOREVER_S)


@fails("timeout", "no sign of life")
def spins() -> NoReturn:
    while True:
        pass


@fails("timeout", "no sign of life")
def sleeps_in_c() -> None:
    ctypes.PyDLL(None).sleep(int(FOREVER_S))  # and holds the lock of the interpreter


@fails("timeout", "no sign of life")
def ignores_every_signal() -> NoReturn:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        with suppress(BaseException):
            time.sleep(FOREVER_S)


@fails("timeout", "no sign of life")
def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@fails("timeout", "no sign of life")
def sleeps_when_asked_for_its_text() -> NoReturn:
    class SlowError(Exception):
        def __str__(self) -> str:
            time.sleep(FOREVER_S)
            return ""

    raise SlowError


# --- processes and threads ---------------------------------------------------------------------------------------


def sleeper() -> int:
    """A child in a session of its own that holds every pipe."""
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(FOREVER_S)
        os._exit(0)
    return child


@fails("error", "exit code 7")
def dies_while_a_child_holds_the_pipe() -> NoReturn:
    sleeper()
    os._exit(7)


@fails("error", "exit code 0")
def becomes_a_daemon() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(FOREVER_S)


@answers
def leaves_a_sleeper() -> int:
    return sleeper()


@answers
def forks_into_our_loop() -> str:
    return "parent" if os.fork() else "child"


@answers
def forks_and_the_child_fails() -> str:
    if os.fork() == 0:
        raise ValueError("this is the child")
    time.sleep(0.2)
    return "parent"


@answers
def leaves_a_program() -> int:
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER_S})"]).pid


@answers
def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(FOREVER_S,), daemon=False).start()


@answers
def leaves_a_thread_that_exits() -> None:
    threading.Thread(target=lambda: (time.sleep(0.3), os._exit(9)), daemon=True).start()


@answers
def interrupts_the_main_thread() -> None:
    _thread.interrupt_main()


# --- descriptors and output --------------------------------------------------------------------------------------


@fails("error", "closed")
def closes_every_descriptor() -> None:
    os.closerange(0, 4096)


@fails("error", "closed")
def closes_the_pipe_and_sleeps() -> None:
    os.closerange(0, 4096)
    time.sleep(FOREVER_S)


@fails("error", "closed")
def reuses_every_descriptor() -> None:
    os.closerange(3, 4096)
    for _ in range(20):
        os.open(os.devnull, os.O_WRONLY)


@fails("error", "wrote into the pipe.*rubbish")
def writes_into_every_descriptor() -> None:
    for descriptor in range(3, 64):
        with suppress(OSError):
            os.set_blocking(descriptor, False)
            os.write(descriptor, b"rubbish")
            os.set_blocking(descriptor, True)


def pipe() -> int:
    """The descriptor on which this process answers."""
    error = os.readlink("/proc/self/fd/2")
    for descriptor in range(3, 64):
        with suppress(OSError):
            leads = os.readlink(f"/proc/self/fd/{descriptor}")
            if leads.startswith("pipe") and leads != error and _is_writable(descriptor):
                return descriptor
    raise LookupError


def _is_writable(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY


def _tells(content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(pipe(), rest) :]


@fails("error", "wrote into the pipe")
def answers_with_a_list() -> None:
    _tells(b"[1, 2]\n")


@fails("error", "wrote into the pipe")
def answers_with_a_wrong_error() -> None:
    _tells(json.dumps({"error": {"type": 3}}).encode() + b"\n")


@fails("error", "wrote into the pipe")
def answers_with_depth() -> None:
    _tells(b"[" * 100_000 + b"\n")


@fails("error", "wrote into the pipe")
def answers_with_a_number_of_many_digits() -> None:
    _tells(b'{"result": ' + b"9" * 100_000 + b"}\n")


@fails("error", "wrote into the pipe")
def answers_with_no_text() -> None:
    _tells(b"\xff\xfe\x00\n")


@fails("error", "more than 64 MiB")
def answers_without_end() -> None:
    _tells(b"x" * (65 << 20))


@fails("error", "not JSON serializable")
def gives_what_cannot_be_sent() -> object:
    return object()


@fails("error", "^(ValueError|RecursionError)")
def gives_itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@answers
def gives_five_megabytes() -> str:
    return "x" * 5_000_000


@answers
def gives_half_a_character() -> str:
    return "caf\udce9"


@answers
def gives_no_number() -> list[float]:
    return [float("nan"), float("inf")]


@answers
def prints_a_flood() -> None:
    for number in range(50_000):
        print("a flood", number, "\x1b[2J", "x" * 100)
        os.write(1, b"from below\xff\n")


@answers
def prints_without_end_of_line() -> None:
    os.write(2, b"y" * 3_000_000)


@answers
def closes_its_streams() -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    for descriptor in range(3):
        with suppress(OSError):
            os.close(descriptor)


@answers
def replaces_its_streams() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@answers
def reads_its_input() -> str:
    return sys.stdin.read()


# --- what belongs to the process ---------------------------------------------------------------------------------


@answers
def changes_directory() -> None:
    os.chdir("/")


@answers
def changes_the_environment() -> None:
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("PATH")


@answers
def sets_handlers_and_a_timer() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


@answers
def hooks_its_end() -> None:
    atexit.register(lambda: time.sleep(FOREVER_S))
    sys.excepthook = lambda *_: os._exit(5)
    sys.settrace(lambda *_: None)
    sys.setrecursionlimit(3000)
    gc.disable()


@answers
def stores_no_core() -> list[int]:
    return list(resource.getrlimit(resource.RLIMIT_CORE))[:1]
