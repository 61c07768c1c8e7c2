"""Options that several commands share, and how their texts are read."""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from portkit.errors import Problem

Command = TypeVar("Command", bound=Callable[..., Any])

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_POWERS = "kmgt"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
mapping_option = click.option(
    "--mapping", metavar="FILE", help="Use this mapping file, or shipped mapping by name."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print complaints only.")


def read_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int:
    """Read `2GB` or `500MB` as bytes, in powers of a thousand; nothing is 0."""
    if text is None:
        return 0
    found = _SIZE.fullmatch(text.strip())
    size = 0
    if found:
        power = _POWERS.index(found[2].lower()) + 1 if found[2] else 0
        size = int(float(found[1]) * 1000**power)
    if size == 0:
        raise click.BadParameter(f"{text!r} is no size, write 2GB or 500MB", context, parameter)
    return size


def read_rungs(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[str, ...]:
    """Read `coverage,bits`; nothing means every rung."""
    del context, parameter
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def read_input_size(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    """Read `224` or `224,256` (height, width) in pixels."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(part.isdigit() and int(part) for part in parts):
        what = f"{text!r} is no input size, write 224 or 224,256 (height,width)"
        raise click.BadParameter(what, context, parameter)
    return int(parts[0]), int(parts[-1])


_VERIFYING = (
    click.option("--atol", type=float, help="Largest absolute difference of the port."),
    click.option("--rtol", type=float, help="Largest relative difference; 0 when --atol is given."),
    click.option("--strict-atol", is_flag=True, help="Hold float32 rounding to --atol, too."),
    click.option(
        "--because",
        default="",
        metavar="TEXT",
        help="Why a looser tolerance is right; reports say it.",
    ),
    click.option("--quick", is_flag=True, help="A budgeted subset, for a save-and-check loop."),
    click.option("--rungs", callback=read_rungs, metavar="A,B", help="Only these rungs."),
    click.option(
        "--input-size",
        callback=read_input_size,
        metavar="H[,W]",
        help="Pixels, for a model that portkit does not know.",
    ),
    click.option("--device", default="cpu", metavar="cpu|cuda", help="Where models run."),
    click.option(
        "--save-outputs", metavar="FILE.npz", help="Keep raw outputs, for `verify --from`."
    ),
)


def verifying_options(command: Command) -> Command:
    """Add the options that say what is verified, and when two results are alike."""
    from portkit.cli.data_options import data_options
    from portkit.cli.reporting import report_options

    command = data_options(report_options(command))
    for option in reversed(_VERIFYING):
        command = option(command)
    return command


def find_useless(context: click.Context, useful: frozenset[str], why: str) -> Iterator[Problem]:
    """Yield a complaint about every option that was typed and would do nothing here."""
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if isinstance(option, click.Option) and typed and name not in useful:
            yield Problem(max(option.opts, key=len), f"has no use {why}")
