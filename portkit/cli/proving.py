"""What `convert --verify` and `verify` share: options read, verdicts said, outputs kept."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portkit.cli import console
from portkit.cli.codes import NO, UNKNOWN, YES
from portkit.errors import PortkitError, Problems

if TYPE_CHECKING:
    from portkit.verification import Options, Verification


def read_options(options: Mapping[str, Any]) -> "Options":
    """Turn the command line's words into the verifier's options; raise PortkitError."""
    from portkit.cli.data_options import read_data, read_preprocess
    from portkit.cli.reporting import read_tolerances, refuse_report_paths
    from portkit.verification import Options
    from portkit.verification.jobs import refuse_options

    problems = Problems()
    data, preprocess = None, ("", "")
    with problems.collecting():
        data = read_data(options)
    with problems.collecting():
        preprocess = read_preprocess(options)
    with problems.collecting():
        refuse_report_paths(options)
    with problems.collecting():
        _refuse_unsavable(options["save_outputs"])
    problems.raise_if_any()
    wanted = Options(
        tolerances=read_tolerances(options),
        quick=options["quick"],
        rungs=options["rungs"],
        input_size=options["input_size"],
        device=options["device"],
        data=data,
        preprocess=preprocess,
    )
    refuse_options(wanted)
    return wanted


def _refuse_unsavable(name: str | None) -> None:
    """Say before any work that outputs cannot be saved where they are asked for."""
    if name is None:
        return
    path = Path(name)
    if path.suffix != ".npz":
        raise PortkitError.at(path, "raw outputs are saved as .npz", "name a FILE.npz")
    if path.exists():
        raise PortkitError.at(path, "already exists", "name another file, or remove it")
    if not path.parent.is_dir():
        raise PortkitError.at(path, f"cannot be written: there is no folder {path.parent}")


def say_verification(verification: "Verification") -> None:
    """Print a verification's report."""
    from portkit.report.text import render_verification

    console.say_report(render_verification(verification))


def verdict_of(verification: "Verification") -> int:
    """Return the exit code of a proof, of a refutation, or of what compared nothing."""
    from portkit.verification import Status

    if any(result.status is Status.FAILED for result in verification.rungs):
        return NO
    return YES if verification.passed else UNKNOWN


def conclude(verification: "Verification", wanted: "Options", options: Mapping[str, Any]) -> int:
    """Keep raw outputs where that is asked for, and return the exit code of a run of models.

    A proof is none where outputs that were asked for are lacking, or torch for rungs that need it.
    Rungs for which there is no model to run are said not to be checked, and change nothing.
    """
    problems, verdict = Problems(), verdict_of(verification)
    with problems.collecting():
        _keep_outputs(verification, options)
    with problems.collecting():
        _refuse_missing_torch(verification, wanted)
    with problems.collecting():
        _refuse_unmet(verification, wanted)
    console.complain(problems)
    return UNKNOWN if problems and verdict == YES else verdict


def _keep_outputs(verification: "Verification", options: Mapping[str, Any]) -> None:
    name = options["save_outputs"]
    if name is None:
        return
    from portkit.verification.saving import save_outputs

    count = save_outputs(verification, Path(name))
    if not (options["quiet"] or options["as_json"]):
        console.say_facts([("saved", f"{count} outputs in {name}")])


def _refuse_unmet(verification: "Verification", wanted: "Options") -> None:
    """Raise PortkitError where rungs were asked for by name and could not be checked."""
    from portkit.verification import Status

    problems = Problems()
    for result in verification.rungs:
        if result.rung in wanted.rungs and result.status is Status.NOT_CHECKED:
            problems.add("--rungs", f"{result.rung} could not be checked: {result.summary}")
    problems.raise_if_any()


def _refuse_missing_torch(verification: "Verification", wanted: "Options") -> None:
    from portkit.verification import Status

    left = any(result.status is Status.NOT_CHECKED for result in verification.rungs)
    if left and verification.passed and not wanted.rungs and find_spec("torch") is None:
        what = "is not installed: the models were not run"
        fix = "install it, or ask for what needs none: --rungs coverage,bits"
        raise PortkitError.at("torch", what, fix)
