"""What `convert --verify` and `verify` share: options read, verdicts said, reports written."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portkit.cli import console
from portkit.errors import PortkitError, Problem, Problems

if TYPE_CHECKING:
    from portkit.report.words import Results
    from portkit.verification import Options, Verification


def read_options(options: Mapping[str, Any]) -> "Options":
    """Turn the command line's words into the verifier's options; raise PortkitError."""
    from portkit.cli.data_options import read_data, read_preprocess
    from portkit.cli.reporting import refuse_report_paths
    from portkit.verification import Options, Tolerances

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
        device=options["device"],
        data=data,
        preprocess=preprocess,
    )


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


def keep_outputs(verification: "Verification", options: Mapping[str, Any]) -> None:
    """Write raw outputs where that is asked for; where there are none, complain and go on."""
    name = options["save_outputs"]
    if name is None:
        return
    from portkit.verification.saving import save_outputs

    try:
        count = save_outputs(verification, Path(name))
    except PortkitError as error:
        console.complain(error.problems)
        return
    if not (options["quiet"] or options["as_json"]):
        console.say_facts([("saved", f"{count} outputs in {name}")])


def report(results: "Results", options: Mapping[str, Any]) -> None:
    """Write the report files that are asked for, and what GitHub shows; raise PortkitError."""
    from portkit.cli.reporting import write_reports

    write_reports(results, options)
