"""Reports beside the answer: `--junit`, `--html`, and what GitHub Actions shows of a run."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portkit.cli import console
from portkit.errors import PortkitError, Problems
from portkit.formats.publishing import publishing

if TYPE_CHECKING:
    from portkit.report.words import Results
    from portkit.verification.results import Tolerances

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--junit", metavar="FILE", help="Write a JUnit XML report to FILE."),
    click.option("--html", metavar="FILE", help="Write a self-contained HTML page to FILE."),
)
_BEGINNINGS = {"junit": b"<?xml", "html": b"<!doctype html"}  # of earlier reports, to be replaced


def report_options(command: Command) -> Command:
    """Add the options that name report files."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_report_paths(options: Mapping[str, Any]) -> None:
    """Refuse, before any work, files that cannot be written or that hold something else."""
    problems = Problems()
    paths = {kind: Path(options[kind]) for kind in _BEGINNINGS if options.get(kind) is not None}
    for kind, path in paths.items():
        what, fix = _why_refused(kind, path)
        if what:
            problems.add(path, what, fix)
    if len(paths) > 1 and len({path.resolve() for path in paths.values()}) == 1:
        problems.add(paths["html"], "is named by --junit and by --html", "name two files")
    problems.raise_if_any()


def write_reports(results: "Results", options: Mapping[str, Any]) -> None:
    """Write the reports that are asked for, and GitHub's where a run of GitHub Actions asks.

    Raise PortkitError where a report cannot be written.
    """
    refuse_report_paths(options)
    if options.get("junit") is not None:
        from portkit.report.junit import junit_of

        _publish(Path(options["junit"]), junit_of(results))
    if options.get("html") is not None:
        from portkit.report.html import html_of

        _publish(Path(options["html"]), html_of(results, read_tolerances(options)).encode())
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _tell_github(results, beside=bool(options.get("as_json")))


def read_tolerances(options: Mapping[str, Any]) -> "Tolerances":
    """Return what differences are let through, as the command line's words say it."""
    from portkit.verification.results import Tolerances

    return Tolerances(
        atol=options.get("atol"),
        rtol=options.get("rtol"),
        strict_atol=bool(options.get("strict_atol")),
        because=(options.get("because") or "").strip(),
    )


def _why_refused(kind: str, path: Path) -> tuple[str, str]:
    if path.is_dir():
        return "is a folder", "name a file"
    if not path.parent.is_dir():
        return f"cannot be written: there is no folder {path.parent}", "make it first"
    if not os.access(path.parent, os.W_OK):
        return f"cannot be written: {path.parent} is read-only", ""
    if path.exists() and not _is_report(kind, path):
        return "holds something else than an earlier report", "name another file"
    return "", ""


def _is_report(kind: str, path: Path) -> bool:
    if not path.is_file():
        return False
    wanted = _BEGINNINGS[kind]
    try:
        with path.open("rb") as file:
            found = file.read(len(wanted))
    except OSError:
        return False
    return not found or found.lower() == wanted


def _publish(path: Path, document: bytes) -> None:
    with publishing(path, force=True) as partial:
        partial.write_bytes(document)


def _tell_github(results: "Results", *, beside: bool) -> None:
    """Print annotations, never into a JSON document, and append the job's summary."""
    from portkit.report.github import annotations, job_summary

    for line in annotations(results):
        (console.tell if beside else console.say)(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"{job_summary(results)}\n")
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise PortkitError.at(summary, what, "it is the file of GITHUB_STEP_SUMMARY") from error
