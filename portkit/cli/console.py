"""Where words go: answers to stdout, the rest to stderr, colour to terminals only."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

from portkit.errors import Problem

_PAGE = 120  # columns of a report that no terminal limits


def shows_colour(stream: IO[str]) -> bool:
    """Say whether a stream is a terminal whose user has not asked for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str = "", **style: Any) -> None:
    """Print one line of the answer; `style` is click's (`fg`, `bold`, `dim`)."""
    _write(text, sys.stdout, style)


def tell(text: str, **style: Any) -> None:
    """Print one line beside the answer."""
    _write(text, sys.stderr, style)


def _write(text: str, stream: IO[str], style: dict[str, Any]) -> None:
    colour = shows_colour(stream)
    click.echo(click.style(text, **style) if style and colour else text, stream, color=colour)


def say_json(value: object) -> None:
    """Print the one JSON document that `--json` promises."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False), sys.stdout)


def say_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Print a plain table, its columns as wide as they need to be; `right` are flushed right."""
    lines = layout_table(heads, rows, right)
    say(lines[0], bold=True)
    for line in lines[1:]:
        say(line)


def layout_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> list[str]:
    """Return a table's lines, nothing cut, two spaces between columns."""
    table = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def say_report(report: Any) -> None:
    """Print what a report renders: a rich renderable, as wide as the terminal or its content."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PAGE
    plain = not shows_colour(sys.stdout)
    Console(file=sys.stdout, width=width, no_color=plain, highlight=False).print(report)


def say_facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print `name  value` lines, the names flushed left; pairs without a value are left out."""
    for name, value in pairs:
        if value:
            say(f"{name:<9} {value}")


def complain(problems: Iterable[Problem]) -> None:
    """Print every problem, with its fix where one is known."""
    for problem in problems:
        first, _, rest = str(problem).partition("\n")
        tell(f"error: {first}", fg="red")
        if rest:
            tell(rest)


def complain_of_usage(error: click.ClickException) -> None:
    """Print a command line that click could not read, as one of our own complaints."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "portkit"
    message = error.format_message().rstrip(".")
    fix = f"`{where} --help` shows how" if isinstance(error, click.UsageError) else ""
    complain([Problem(where, f"{message[:1].lower()}{message[1:]}", fix)])


def confess(error: Exception, frames: int) -> None:
    """Print a fault of our own: the last few frames, what happened, whose fault it is."""
    from traceback import format_exception_only, format_tb

    for line in format_tb(error.__traceback__)[-frames:]:
        tell(line.rstrip(), dim=True)
    what = "".join(format_exception_only(error)).strip()
    fix = "report it with the lines above and the command that led to them"
    complain([Problem("", f"this is a bug in portkit: {what}", fix)])


def readable_bytes(count: int) -> str:
    """Return a size as people say it, in powers of a thousand: `553.4 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
