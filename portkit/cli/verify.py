"""`portkit verify`: prove ported files and models, by provenance or against a named source."""

from collections.abc import Mapping
from dataclasses import dataclass
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
from portkit.cli.proving import (
    keep_outputs,
    read_options,
    report,
    say_verification,
    verdict_of,
)
from portkit.errors import PortkitError, Problems

if TYPE_CHECKING:
    from portkit.pairing import Inferred
    from portkit.verification import Options, Verification
    from portkit.verification.preparing import Prepared
    from portkit.verification.selftest import SelfTest


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one target: its verification or complaint, and what goes with it."""

    result: "Verification | PortkitError"
    verdict: int
    inferred: "Inferred | None" = None
    tested: "SelfTest | None" = None


@click.command("verify")
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--against", metavar="SOURCE", help="The source, where provenance is not to decide.")
@mapping_option
@click.option("--save-mapping", metavar="FILE", help="Write a pairing that had to be inferred.")
@click.option("--self-test", is_flag=True, help="Prove the verifier: inject faults into TARGET.")
@click.option("--from", "saved", metavar="FILE.npz", help="Judge saved outputs again; run nothing.")
@verifying_options
@json_option
@quiet_option
def command(targets: tuple[str, ...], **options: Any) -> int:
    """Prove TARGET against its source; without TARGET, every ported file below this folder.

    TARGET is a ported file, or any reference with weights where --against names another one:
    `python:new:net@new.pth --against python:old:net@old.pth` infers which tensors correspond.
    """
    _refuse_contradictions(targets, options)
    wanted = read_options(options)
    silent = options["as_json"] or options["quiet"]
    if options["saved"] is not None:
        names: tuple[str, ...] = (options["saved"],)
    else:
        names = targets or _find_all(announce=not silent)
    found = {name: _verify(name, options, wanted, silent=silent) for name in names}
    report({name: one.result for name, one in found.items()}, options)
    if options["as_json"]:
        _say_as_json(found)
    elif len(names) > 1 and not silent:
        _summarise(found)
    return _code_of(tuple(one.verdict for one in found.values()))


def _refuse_contradictions(targets: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Refuse options that make no sense together; raise PortkitError."""
    problems = Problems()
    several = {"--save-outputs": options["save_outputs"], "--save-mapping": options["save_mapping"]}
    for name, value in several.items():
        if value is not None and len(targets) != 1:
            problems.add(name, "is for one target", "name one TARGET")
    if options["save_mapping"] is not None and options["mapping"] is not None:
        problems.add("--save-mapping", "writes what is inferred, but --mapping names a mapping")
    if options["saved"] is not None:
        names = ("against", "mapping", "save_mapping", "self_test", "save_outputs", "data")
        given = [f"--{name.replace('_', '-')}" for name in names if options[name]]
        if targets or given:
            what = f"judges what was saved, and has no use for {', '.join([*targets, *given])}"
            problems.add("--from", what)
    problems.raise_if_any()


def _find_all(*, announce: bool) -> tuple[str, ...]:
    from portkit.cli.finding import find_artifacts

    found = find_artifacts(Path())
    if found.broken:
        raise PortkitError(found.broken)
    if not found.artifacts:
        fix = "name a TARGET, or `portkit convert SRC DST` first"
        raise PortkitError.at("", "no ported file below this folder", fix)
    if announce:
        console.say(f"found {', '.join(map(str, found.artifacts))}")
    return tuple(map(str, found.artifacts))


def _verify(name: str, options: Mapping[str, Any], wanted: "Options", *, silent: bool) -> _Found:
    """Verify one target and say what comes of it; a complaint does not stop the others."""
    try:
        if options["saved"] is not None:
            return _judge_again(Path(name), wanted, silent=silent)
        return _climb(name, options, wanted, silent=silent)
    except PortkitError as error:
        console.complain(error.problems)
        return _Found(error, 2)


def _judge_again(path: Path, wanted: "Options", *, silent: bool) -> _Found:
    from portkit.verification.saving import judge_saved

    verification = judge_saved(path, wanted)
    if not silent:
        say_verification(verification)
    return _Found(verification, verdict_of(verification, wanted))


def _climb(name: str, options: Mapping[str, Any], wanted: "Options", *, silent: bool) -> _Found:
    from portkit.verification import verify_job

    prepared = _prepare(name, options, wanted)
    if prepared.inferred is not None and not silent:
        _say_pairing(prepared.inferred, options["save_mapping"])
    if options["self_test"]:
        return _test(prepared, wanted, silent=silent)
    verification = verify_job(prepared.job)
    if not silent:
        say_verification(verification)
    keep_outputs(verification, options)
    return _Found(verification, verdict_of(verification, wanted), prepared.inferred)


def _prepare(name: str, options: Mapping[str, Any], wanted: "Options") -> "Prepared":
    from portkit.cli.bars import choose_progress
    from portkit.verification.preparing import Asked, prepare_job

    save = options["save_mapping"]
    asked = Asked(name, options["against"], options["mapping"], Path(save) if save else None)
    prepared = prepare_job(asked, wanted, choose_progress(quiet=options["quiet"]))
    if save is not None and prepared.inferred is None:
        what = "writes what is inferred, but a mapping is known for these two"
        raise PortkitError.at("--save-mapping", what, "see `portkit mappings list`")
    return prepared


def _test(prepared: "Prepared", wanted: "Options", *, silent: bool) -> _Found:
    """Inject faults into this very port; every one must be rejected."""
    from portkit.report.selftest import render_self_test
    from portkit.verification.selftest import self_test

    tested = self_test(prepared.job)
    if not silent:
        console.say_report(render_self_test(tested))
    code = verdict_of(tested.untouched, wanted)
    verdict = code or (0 if tested.passed else 1)
    return _Found(tested.untouched, verdict, prepared.inferred, tested)


def _say_pairing(inferred: "Inferred", saved: str | None) -> None:
    from portkit.report.pairing import render_pairing

    console.say_report(render_pairing(inferred))
    where = f"written to {saved}" if saved else "--save-mapping FILE writes it as a mapping"
    console.say_facts([("pairing", where)])
    console.say()


def _code_of(verdicts: tuple[int, ...]) -> int:
    """Return one code for all files: a refutation outweighs what could not be found out."""
    return 1 if 1 in verdicts else max(verdicts)


def _summarise(found: Mapping[str, _Found]) -> None:
    words = ("passed", "FAILED", "not found out")
    console.say()
    rows = [(name, words[one.verdict]) for name, one in found.items()]
    console.say_table(("file", "verdict"), rows)


def _say_as_json(found: Mapping[str, _Found]) -> None:
    documents = [_as_dict(name, one) for name, one in found.items()]
    console.say_json(documents[0] if len(documents) == 1 else documents)


def _as_dict(name: str, found: _Found) -> dict[str, Any]:
    from portkit.report.json import verification_as_dict

    if isinstance(found.result, PortkitError):
        return {"artifact": name, "problems": [str(one) for one in found.result.problems]}
    document = verification_as_dict(found.result)
    if found.inferred is not None:
        from portkit.report.pairing import pairing_as_dict

        document["pairing"] = pairing_as_dict(found.inferred)
    if found.tested is not None:
        from portkit.report.selftest import self_test_as_dict

        document["self_test"] = self_test_as_dict(found.tested)
    return document
