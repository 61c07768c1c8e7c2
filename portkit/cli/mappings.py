"""`portkit mappings`: the library, and the way to a mapping of one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.options import json_option
from portkit.errors import PortkitError, Problems

if TYPE_CHECKING:
    from portkit.mapping import PortMap


@click.group("mappings", no_args_is_help=True)
def command() -> None:
    """List, show, check and start mappings."""


@command.command("list")
@json_option
def list_mappings(as_json: bool) -> None:
    """List the mappings that ship with portkit."""
    from portkit.mapping import load_library

    rows = [_describe(portmap) for portmap in load_library()]
    if as_json:
        console.say_json(rows)
        return
    heads = ("name", "from", "to", "for", "values", "backwards")
    console.say_table(heads, [_as_row(row) for row in rows])


def _describe(portmap: "PortMap") -> dict[str, Any]:
    from portkit.mapping import obstacles

    return {
        "name": portmap.name,
        "from": portmap.source,
        "to": portmap.target,
        "for": list(portmap.archs),
        "values": sorted({rule.kind.value for rule in portmap.rules}),
        "backwards": not obstacles(portmap),
    }


def _as_row(row: dict[str, Any]) -> tuple[str, ...]:
    backwards = "yes" if row["backwards"] else "no"
    return (
        row["name"],
        row["from"],
        row["to"],
        ", ".join(row["for"]),
        ", ".join(row["values"]),
        backwards,
    )


@command.command("show")
@click.argument("name", metavar="NAME")
def show_mapping(name: str) -> None:
    """Print a shipped mapping, ready to be saved and changed."""
    from portkit.mapping.library import shipped_mapping

    console.say(shipped_mapping(name).path.read_text(encoding="utf-8").rstrip("\n"))


@command.command("check")
@click.argument("words", metavar="[FILE]... [SRC DST]", nargs=-1)
@json_option
def check_mappings(words: tuple[str, ...], as_json: bool) -> None:
    """Load and plan FILE, or every shipped mapping, for each architecture it is meant for.

    SRC and DST are the models to plan between, where the mapping's own names do not say.
    """
    from portkit.cli.checking import check_between, check_file, check_library
    from portkit.mapping import MAPPING_SUFFIXES

    files = [word for word in words if word.endswith(MAPPING_SUFFIXES)]
    ends = [word for word in words if word not in files]
    if len(ends) not in (0, 2) or (ends and not files):
        raise click.UsageError("give mapping files, and then SRC and DST or neither")
    problems = Problems()
    plans: list[tuple[str, str]] = []
    for checked in (
        [check_between(file, ends[0], ends[1]) for file in files]
        if ends
        else [check_file(file) for file in files] or [check_library()]
    ):
        plans.extend(_collect(checked, problems))
    problems.raise_if_any()
    if as_json:
        console.say_json([{"mapping": name, "plans": plan} for name, plan in plans])
    else:
        console.say_table(("mapping", "plans"), plans)


def _collect(
    checked: Iterator[tuple[str, str] | PortkitError], problems: Problems
) -> Iterator[tuple[str, str]]:
    for result in checked:
        if isinstance(result, PortkitError):
            problems.extend(result.problems)
        else:
            yield result


@command.command("new")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of printing.")
@click.option("--force", is_flag=True, help="Replace FILE.")
def start_mapping(source: str, target: str, output: str | None, force: bool) -> None:
    """Write a mapping to fill in, with every tensor of SRC and DST listed."""
    from portkit.cli.files import write_text
    from portkit.cli.skeleton import Sides, name_scheme, write_skeleton

    (start, taken), (end, given) = _look_at(source), _look_at(target)
    sides = Sides(name_scheme(start, source), name_scheme(end, target), taken, given)
    file = output if output is not None else "mapping.yaml"
    check = f"portkit mappings check {file} {_quoted(source)} {_quoted(target)}"
    text = write_skeleton(sides, check)
    if output is None:
        console.say(text.rstrip("\n"))
        return
    write_text(Path(output), text, force=force)
    console.say_facts(
        [
            ("wrote", f"{output}: {len(taken)} source and {len(given)} target tensors"),
            ("ready", f"{len(sides.shared)} rules; the rest is listed as comments to fill in"),
            ("next", check),
        ]
    )


def _look_at(text: str) -> Any:
    """Return an endpoint and its headers; a file need not be a model that portkit knows."""
    from portkit.cli.ends import open_end

    endpoint = open_end(text)
    return endpoint, endpoint.specs or {}


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)
