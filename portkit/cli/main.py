"""The outermost layer: finds the command, runs it, and turns whatever happens into an exit code."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import FrameType, MappingProxyType
from typing import NoReturn

import click

from portkit import __version__
from portkit.cli import console
from portkit.cli.codes import BROKEN, UNKNOWN, YES
from portkit.errors import PortkitError, Problem

_SIGNALLED = 128  # plus the signal's number, as shells report it
_COMPLETION = "_PORTKIT_COMPLETE"  # set by the shell's completion script
_FRAMES = 4  # of our own traceback, innermost

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "convert": "Port weights from one model or file to another.",
        "verify": "Prove ported files against their sources.",
        "plan": "Show what convert would do to each tensor; reads no value.",
        "inspect": "List the tensors of a file or model; several side by side.",
        "mappings": "List, show, check and start mappings.",
        "demo": "Port, prove and evaluate a small trained net, offline.",
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported when one of them is run.

    click finds commands through these methods, so this is the one subclass in the package.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"portkit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(COMMANDS)}"
            raise PortkitError.at("portkit", f"no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)


_EPILOG = """\b
Exit codes: 0 yes; 1 no, a comparison failed; 2 could not find out; 70 portkit broke.
References: torchvision:vgg16, torchvision:vgg16@FILE, torchvision:vgg16@random:7,
            conv-head:vgg16@FILE, demo:fashion, python:MODULE:FACTORY, or a file.
"""


@click.group(
    cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="portkit")
def group() -> None:
    """Move trained weights between models and file formats, and prove that nothing was lost."""


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run_command(sys.argv[1:]))


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """Leave by way of every `finally`, so that no partial file stays behind."""
    del frame
    sys.exit(_SIGNALLED + number)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, whatever happens inside."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error)
    return code


def _explain(error: Exception | KeyboardInterrupt) -> int:
    """Say what stopped a command, and return the exit code that this means."""
    match error:
        case PortkitError():
            console.complain(error.problems)
        case click.exceptions.NoArgsIsHelpError():
            console.tell(error.format_message())
        case click.ClickException():
            console.complain_of_usage(error)
        case click.Abort() | KeyboardInterrupt():
            return _SIGNALLED + signal.SIGINT
        case BrokenPipeError():
            return _reader_left()
        case MemoryError():
            console.complain([Problem("portkit", "there is not enough memory for this")])
        case _:
            console.confess(error, _FRAMES)
            return BROKEN
    return UNKNOWN


def _invoke(arguments: Sequence[str]) -> int:
    """Run click's command without click's own exit codes, which would read as ours."""
    instruction = os.environ.get(_COMPLETION)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "portkit", _COMPLETION, instruction)
    try:
        with group.make_context("portkit", list(arguments)) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return code if isinstance(code, int) else YES


def _reader_left() -> int:
    """End quietly when whoever reads our output has gone, as in `portkit plan … | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _SIGNALLED + int(getattr(signal, "SIGPIPE", 13))
