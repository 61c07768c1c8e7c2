"""`portkit verify`: prove ported files, by provenance or against a source that is named."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.options import (
    json_option,
    mapping_option,
    quiet_option,
    verifying_options,
)
from portkit.errors import PortkitError, Problem

if TYPE_CHECKING:
    from portkit.verification import Options, Verification


@click.command("verify")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--against", metavar="SOURCE", help="The source, where provenance is not to decide.")
@mapping_option
@verifying_options
@json_option
@quiet_option
def command(targets: tuple[str, ...], *, against: str | None, **options: Any) -> int:
    """Prove TARGET against its source; without TARGET, every ported file below this folder."""
    wanted = read_options(options)
    silent = options["as_json"] or options["quiet"]
    paths = tuple(map(Path, targets)) or _find_all(announce=not silent)
    results: dict[Path, Verification | PortkitError] = {}
    verdicts: dict[Path, int] = {}
    for path in paths:
        try:
            verification = _verify(path, against, options, wanted)
        except PortkitError as error:
            results[path], verdicts[path] = error, 2
            console.complain(error.problems)
            continue
        results[path], verdicts[path] = verification, verdict_of(verification, wanted)
        if not silent:
            say_verification(verification)
    if options["as_json"]:
        _say_as_json(results)
    elif len(paths) > 1 and not silent:
        _summarise(verdicts)
    return _code_of(tuple(verdicts.values()))


def _find_all(*, announce: bool) -> tuple[Path, ...]:
    from portkit.cli.finding import find_artifacts

    found = find_artifacts(Path())
    if found.broken:
        raise PortkitError(found.broken)
    if not found.artifacts:
        fix = "name a TARGET, or `portkit convert SRC DST` first"
        raise PortkitError.at("", "no ported file below this folder", fix)
    if announce:
        console.say(f"found {', '.join(map(str, found.artifacts))}")
    return found.artifacts


def _verify(
    path: Path, against: str | None, options: Mapping[str, Any], wanted: "Options"
) -> "Verification":
    from portkit.cli.bars import choose_progress
    from portkit.porting import port_of
    from portkit.verification import verify_port

    progress = choose_progress(quiet=options["quiet"])
    return verify_port(port_of(path, against, options["mapping"]), path, wanted, progress)


def read_options(options: Mapping[str, Any]) -> "Options":
    """Turn the command line's words into the verifier's options; raise PortkitError."""
    from portkit.verification import Options, Tolerances

    tolerances = Tolerances(
        atol=options["atol"],
        rtol=options["rtol"],
        strict_atol=options["strict_atol"],
        because=options["because"],
    )
    return Options(
        tolerances=tolerances,
        quick=options["quick"],
        rungs=options["rungs"],
        input_size=options["input_size"],
    )


def say_verification(verification: "Verification") -> None:
    """Print a verification's report."""
    from portkit.report.text import render_verification

    console.say_report(render_verification(verification))


def verdict_of(verification: "Verification", wanted: "Options") -> int:
    """Return 0 for a proof, 1 for a refutation, 2 where torch is missing for rungs that need it.

    Rungs for which there is no model to run are said not to be checked, and change nothing.
    """
    from portkit.verification import Status

    statuses = [result.status for result in verification.rungs]
    if Status.FAILED in statuses:
        return 1
    if not verification.passed:
        return 2
    if not wanted.rungs and Status.NOT_CHECKED in statuses and find_spec("torch") is None:
        what = "is not installed: the models were not run"
        fix = "install it, or ask for what needs none: --rungs coverage,bits"
        console.complain([Problem("torch", what, fix)])
        return 2
    return 0


def _code_of(verdicts: tuple[int, ...]) -> int:
    """Return one code for all files: a refutation outweighs what could not be found out."""
    return 1 if 1 in verdicts else max(verdicts)


def _summarise(verdicts: Mapping[Path, int]) -> None:
    words = ("passed", "FAILED", "not found out")
    console.say()
    rows = [(str(path), words[verdict]) for path, verdict in verdicts.items()]
    console.say_table(("file", "verdict"), rows)


def _say_as_json(results: Mapping[Path, "Verification | PortkitError"]) -> None:
    from portkit.report.json import verification_as_dict

    documents = [
        {"artifact": str(path), "problems": [str(problem) for problem in result.problems]}
        if isinstance(result, PortkitError)
        else verification_as_dict(result)
        for path, result in results.items()
    ]
    console.say_json(documents[0] if len(documents) == 1 else documents)
