"""`portkit verify`: prove ported files and models, by provenance or against a named source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.codes import NO, UNKNOWN, YES
from portkit.cli.options import (
    find_useless,
    json_option,
    mapping_option,
    quiet_option,
    verifying_options,
)
from portkit.cli.proving import conclude, read_options, say_verification, verdict_of
from portkit.cli.reporting import write_reports
from portkit.errors import PortkitError, Problem, Problems

if TYPE_CHECKING:
    from portkit.pairing import Inferred
    from portkit.verification import Options, Verification
    from portkit.verification.preparing import Prepared
    from portkit.verification.results import Check
    from portkit.verification.selftest import SelfTest, Trial

_ALWAYS = frozenset(
    ("atol", "rtol", "strict_atol", "because", "junit", "html", "as_json", "quiet")
)  # how strict it is, and what is said
_RUNNING = _ALWAYS | {"against", "mapping", "save_mapping", "input_size", "device"}

# What each way to verify has a use for: to judge saved outputs, to be tested itself, or neither.
USES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "--from": _ALWAYS | {"saved"},
        "--self-test": _RUNNING | {"self_test"},
        "": _RUNNING
        | {"quick", "rungs", "save_outputs", "data", "subset", "data_seed"}
        | {"preprocess", "preprocess_source", "preprocess_target"},
    }
)


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
@click.pass_context
def command(context: click.Context, /, targets: tuple[str, ...], **options: Any) -> int:
    """Prove TARGET against its source; without TARGET, every ported file below this folder.

    TARGET is a ported file, or any reference with weights where --against names another one:
    `python:new:net@new.pth --against python:old:net@old.pth` infers which tensors correspond.
    """
    _refuse_contradictions(context)
    wanted = read_options(options)
    silent = options["as_json"] or options["quiet"]
    if options["saved"] is not None:
        names: tuple[str, ...] = (options["saved"],)
    else:
        names = targets or _find_all(announce=not silent)
    found = {name: _verify(name, options, wanted, silent=silent) for name in names}
    write_reports({name: one.result for name, one in found.items()}, options)
    if options["as_json"]:
        _say_as_json(found)
    elif len(names) > 1 and not silent:
        _summarise(found)
    return _code_of(tuple(one.verdict for one in found.values()))


def _refuse_contradictions(context: click.Context) -> None:
    """Refuse options that make no sense together; raise PortkitError."""
    options = context.params
    mode = "--self-test" if options["self_test"] else ""
    mode = "--from" if options["saved"] is not None else mode
    problems = Problems(find_useless(context, USES[mode], f"with {mode}"))
    if mode == "--from":
        problems.extend(Problem(name, "has no use with --from") for name in options["targets"])
    problems.raise_if_any()
    for name in ("save_outputs", "save_mapping"):
        if options[name] is not None and len(options["targets"]) != 1:
            problems.add(f"--{name.replace('_', '-')}", "is for one target", "name one TARGET")
    if options["save_mapping"] is not None and options["mapping"] is not None:
        problems.add("--save-mapping", "writes what is inferred, but --mapping names a mapping")
    problems.raise_if_any()


def _find_all(*, announce: bool) -> tuple[str, ...]:
    from portkit.cli.finding import find_artifacts

    found = find_artifacts(Path())
    if found.broken:
        raise PortkitError(found.broken)
    if not found.artifacts:
        fix = "name a TARGET, or `portkit convert SRC DST` first"
        raise PortkitError.at(Path.cwd(), "no ported file in this folder or below", fix)
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
        return _Found(error, UNKNOWN)


def _judge_again(path: Path, wanted: "Options", *, silent: bool) -> _Found:
    from portkit.verification.saving import judge_saved

    verification = judge_saved(path, wanted)
    if not silent:
        say_verification(verification)
    return _Found(verification, verdict_of(verification))


def _climb(name: str, options: Mapping[str, Any], wanted: "Options", *, silent: bool) -> _Found:
    from portkit.verification import verify_job

    prepared = _prepare(name, options, wanted)
    if prepared.inferred is not None and not silent:
        _say_pairing(prepared.inferred, options["save_mapping"])
    if options["self_test"]:
        return _test(prepared, silent=silent)
    verification = verify_job(prepared.job)
    if not silent:
        say_verification(verification)
    return _Found(verification, conclude(verification, wanted, options), prepared.inferred)


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


def _test(prepared: "Prepared", *, silent: bool) -> _Found:
    """Inject faults into this very port; every one must be rejected."""
    from portkit.verification.jobs import why_not_run

    job = prepared.job
    why_not = why_not_run(job.source.endpoint, job.target.endpoint)
    if why_not:
        raise PortkitError.at("--self-test", f"runs both models, which cannot be: {why_not}")
    from portkit.report.selftest import render_self_test
    from portkit.verification.selftest import self_test

    tested = self_test(job)
    if not silent:
        console.say_report(render_self_test(tested))
    result = _with_trials(tested)
    return _Found(result, verdict_of(result), prepared.inferred, tested)


def _with_trials(tested: "SelfTest") -> "Verification":
    """Return the verification of the untouched port, and the trials as one rung more."""
    from portkit.verification.results import rung_of

    untouched = tested.untouched
    if not untouched.passed:
        return untouched
    checks = list(map(_as_check, tested.trials))
    summary = f"{len(checks) - len(tested.survivors)} of {len(checks)} faults are rejected"
    result = rung_of("self-test", checks, summary if checks else "no fault has a place in it")
    return replace(untouched, rungs=(*untouched.rungs, result))


def _as_check(trial: "Trial") -> "Check":
    from portkit.verification.results import Check

    what = f"in {trial.place}: {trial.rung or 'no rung'} rejects it"
    return Check(f"{trial.fault} {trial.words}", trial.rejected, what)


def _say_pairing(inferred: "Inferred", saved: str | None) -> None:
    from portkit.report.pairing import render_pairing

    console.say_report(render_pairing(inferred))
    where = f"written to {saved}" if saved else "--save-mapping FILE writes it as a mapping"
    console.say_facts([("pairing", where)])
    console.say()


def _code_of(verdicts: tuple[int, ...]) -> int:
    """Return one code for all files: a refutation outweighs what could not be found out."""
    return NO if NO in verdicts else max(verdicts)


def _summarise(found: Mapping[str, _Found]) -> None:
    words = {YES: "passed", NO: "FAILED", UNKNOWN: "not found out"}
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
