"""The ``convbench`` command: global options, error handling, and the list of commands."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from convbench import __version__
from convbench.cli.console import fail, verbosity
from convbench.errors import ConvbenchError, UsageError

_GLOBAL_FLAGS = ("-q", "--quiet", "-v", "--verbose", "--debug")


class Group(TyperGroup):
    """Accepts the global flags anywhere, and turns every deliberate error into one message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        head, tail = (args[: args.index("--")], args[args.index("--") :]) if "--" in args else (args, [])
        flags = [arg for arg in head if arg in _GLOBAL_FLAGS]
        return super().parse_args(ctx, flags + [arg for arg in head if arg not in _GLOBAL_FLAGS] + tail)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConvbenchError as error:
            if verbosity.debug:
                raise
            fail(str(error))
            raise typer.Exit(2 if isinstance(error, UsageError) else 3) from error
        except OSError as error:
            if verbosity.debug or error.errno != errno.ENOSPC:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered has nowhere to go
            fail(f"the output cannot be written: {error.strerror}")
            raise typer.Exit(3) from error
        except KeyboardInterrupt:
            fail("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="convbench",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    pretty_exceptions_enable=False,
    help="Measure what a convolution block costs: parameters, MACs and FLOPs, latency, memory, receptive field.",
    epilog="Start with: convbench list | convbench profile MRFA --dim 64 | convbench compare MRFA PyConv --dim 64",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convbench {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    verbosity.quiet, verbosity.verbose, verbosity.debug = quiet, verbose, debug
