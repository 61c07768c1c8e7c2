"""`portkit convert`: the main job."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.codes import YES
from portkit.cli.options import (
    find_useless,
    json_option,
    mapping_option,
    quiet_option,
    read_size,
    verifying_options,
)
from portkit.errors import PortkitError, Problems

if TYPE_CHECKING:
    from portkit.conversion import Converted
    from portkit.porting import Port
    from portkit.verification import Options

# What there is a use for where nothing is verified.
_UNVERIFIED = frozenset(
    ("output", "mapping", "dry_run", "force", "shard_size", "digest", "as_json", "quiet")
)


@dataclass(frozen=True, slots=True)
class _Saying:
    """How much is said, and in which form."""

    quiet: bool
    as_json: bool

    @property
    def in_words(self) -> bool:
        return not (self.quiet or self.as_json)


@click.command("convert")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("-o", "--output", metavar="FILE", help="Where to; .safetensors, .pth or .npz.")
@mapping_option
@click.option("--dry-run", is_flag=True, help="Plan, say what would happen, write nothing.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.option("--shard-size", metavar="SIZE", callback=read_size, help="Split, e.g. at 2GB.")
@click.option("--digest", is_flag=True, help="Record a digest of the source's data, too.")
@click.option("--verify", "verifies", is_flag=True, help="Prove the output straight away.")
@verifying_options
@json_option
@quiet_option
@click.pass_context
def command(context: click.Context, /, source: str, target: str, **options: Any) -> int:
    """Port the weights of SRC to the model DST names: a head, such as conv-head, or a reference."""
    from portkit.api import default_output
    from portkit.cli.proving import read_options
    from portkit.porting import make_port

    saying = _Saying(options["quiet"], options["as_json"])
    wanted = read_options(options) if options["verifies"] else None
    if wanted is None:
        Problems(find_useless(context, _UNVERIFIED, "without --verify")).raise_if_any()
    port = make_port(source, target, options["mapping"])
    output = options["output"]
    path = Path(output if output is not None else default_output(port))
    if not (options["force"] or options["dry_run"]):
        _refuse_taken(path)
    if saying.in_words:
        _introduce(port)
    if options["dry_run"]:
        _show_intention(port, path, saying)
        return YES
    converted = _convert(port, path, options)
    if wanted is None:
        _show_converted(port, converted, saying)
        return YES
    return _show_verified(port, converted, wanted, options, saying)


def _refuse_taken(path: Path) -> None:
    """Say before anything else that an output is there already."""
    try:
        taken = path.is_file()
    except OSError as error:
        raise PortkitError.at(path, f"cannot be written: {error.strerror}") from error
    if taken:
        raise PortkitError.at(path, "already exists", "use --force to replace it")


def _introduce(port: "Port") -> None:
    from portkit.cli.summary import describe_port

    console.say_facts(describe_port(port))


def _convert(port: "Port", path: Path, options: dict[str, Any]) -> "Converted":
    from portkit.cli.bars import choose_progress
    from portkit.conversion import OutputOptions, convert_port

    return convert_port(
        port,
        path,
        OutputOptions(options["force"], options["shard_size"], options["digest"]),
        choose_progress(quiet=options["quiet"]),
    )


def _show_intention(port: "Port", path: Path, saying: _Saying) -> None:
    from portkit.cli.summary import port_as_dict

    if saying.as_json:
        console.say_json({"output": str(path), "written": False, **port_as_dict(port)})
    elif saying.in_words:
        exists = " (it exists: --force would replace it)" if path.exists() else ""
        console.say_facts([("would", f"write {path}{exists}")])


def _as_dict(port: "Port", converted: "Converted") -> dict[str, Any]:
    from portkit.cli.summary import port_as_dict

    return {"output": str(converted.output), "written": True, **port_as_dict(port)}


def _show_converted(port: "Port", converted: "Converted", saying: _Saying) -> None:
    if saying.as_json:
        console.say_json(_as_dict(port, converted))
    elif saying.in_words:
        _say_written(converted)
        console.say_facts([("next", f"portkit verify {converted.output}")])


def _say_written(converted: "Converted") -> None:
    size = console.readable_bytes(converted.nbytes)
    console.say_facts([("wrote", f"{converted.output} ({size})")])


def _show_verified(
    port: "Port",
    converted: "Converted",
    wanted: "Options",
    options: dict[str, Any],
    saying: _Saying,
) -> int:
    from portkit.cli.bars import choose_progress
    from portkit.cli.proving import conclude, say_verification
    from portkit.cli.reporting import write_reports
    from portkit.verification import verify_port

    if saying.in_words:
        _say_written(converted)
    progress = choose_progress(quiet=saying.quiet)
    verification = verify_port(port, converted.output, wanted, progress)
    write_reports({str(converted.output): verification}, options)
    if saying.as_json:
        from portkit.report.json import verification_as_dict

        found = verification_as_dict(verification)
        console.say_json({**_as_dict(port, converted), "verification": found})
    elif saying.in_words:
        console.say()
        say_verification(verification)
    return conclude(verification, wanted, options)
