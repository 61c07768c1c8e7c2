"""Options that several commands share, and how their texts are read."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from portkit.errors import PortkitError

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
    from portkit.verification.results import RUNGS

    rungs = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    unknown = [rung for rung in rungs if rung not in RUNGS]
    if unknown:
        what = f"no rung is called {unknown[0]!r}, use some of: {', '.join(RUNGS)}"
        raise click.BadParameter(what, context, parameter)
    return rungs


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
    click.option("--because", default="", metavar="TEXT", help="Why a tolerance is loosened."),
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


def refuse_without_verify(options: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing; raise PortkitError."""
    own = [parameter.opts[0] for parameter in _parameters() if _is_given(parameter, options)]
    if own:
        text = ", ".join(own)
        raise PortkitError.at("portkit convert", f"{text} say how to verify", "add --verify")


def _parameters() -> list[click.Parameter]:
    """Return the options that `verifying_options` adds."""

    @click.command("any")
    @verifying_options
    def command() -> None:
        """Carry the options."""

    return command.params


def _is_given(parameter: click.Parameter, options: Mapping[str, Any]) -> bool:
    value = options.get(parameter.name or "")
    return value not in (None, False, "", (), parameter.default)
