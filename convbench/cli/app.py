"""The ``convbench`` command: global options, error handling, and the list of commands."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from convbench.cli.command import Commands
from convbench.cli.console import fail, verbosity
from convbench.errors import ConvbenchError, UsageError, nearest
from convbench.version import __version__
from convbench.workers.text import brief, text_of

_GLOBAL_FLAGS = ("-q", "--quiet", "-v", "--verbose", "--debug")


_WrongCommandLine: Any = typer.BadParameter.mro()[2]  # Click's, of which Typer has its own copy in later versions


class Group(TyperGroup):
    """Accepts the global flags anywhere, and turns every error into one message and an exit code: 2 for a wrong
    request, 3 for everything else that went wrong, 130 for Ctrl-C. What nobody foresaw is no traceback either.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        stands_alone = extra.pop("standalone_mode", True)
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except _WrongCommandLine as error:
            code = _tell_usage(error)
        except typer.Abort:
            code = 130
        if stands_alone:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        head, tail = (args[: args.index("--")], args[args.index("--") :]) if "--" in args else (args, [])
        flags = [arg for arg in head if arg in _GLOBAL_FLAGS]
        return super().parse_args(ctx, flags + [arg for arg in head if arg not in _GLOBAL_FLAGS] + tail)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, _WrongCommandLine):
            raise
        except KeyboardInterrupt:
            fail("interrupted")
            raise typer.Exit(130) from None
        except Exception as error:
            raise typer.Exit(_tell(error)) from error


def _tell(error: Exception) -> int:
    """Say what went wrong, and give the exit code for it."""
    if verbosity.debug:
        traceback.print_exception(error)
    if isinstance(error, ConvbenchError):
        fail(text_of(error, 10_000))
        return 2 if isinstance(error, UsageError) else 3
    said = brief(text_of(error, 1_000), lines=1)
    if isinstance(error, OSError):
        fail(said)
    else:
        fail(f"internal error: {type(error).__name__}: {said}; run with --debug for the traceback, and report it")
    return 3


def _tell_usage(error: Any) -> int:
    """Say what is wrong with the command line, in one line, and where it is explained."""
    code: int = error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return code
    message = " ".join(error.format_message().split()).rstrip(".")
    if error.ctx is not None and type(error).__name__ == "NoSuchOption":
        flags = [flag for parameter in error.ctx.command.params for flag in parameter.opts + parameter.secondary_opts]
        message = f"{error.message.rstrip('.')}.{nearest(error.option_name, filter(_is_flag, flags))}"
    elif error.ctx is not None:
        message += f". See: {error.ctx.command_path} --help"
    fail(message.replace("?. ", "? "))
    return code


def _is_flag(name: str) -> bool:
    return name.startswith("--")


app = Commands(
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
    verbosity.quiet, verbosity.verbose, verbosity.debug, verbosity.data = quiet, verbose, debug, False
