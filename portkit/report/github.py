"""Verifications as GitHub Actions shows them: annotations on a run and a job summary."""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from portkit.errors import PortkitError
from portkit.report.words import (
    Results,
    Tone,
    diagnosis_in_words,
    failed_rungs,
    flips_of,
    judge,
    seconds_in_words,
    shown,
    shown_lines,
)
from portkit.verification.results import Check, RungResult, Status, Verification

_ANNOTATED = 10  # failed checks of a rung; the rest is counted
_LISTED = 20  # failed checks of a rung, and flips, in a summary
_LARGEST = 900_000  # bytes of a summary; GitHub refuses more than 1 MiB
_MARKS = {
    Status.PASSED: "✅",
    Status.FAILED: "❌",
    Status.NOT_CHECKED: "⚠️",
    Status.NOT_APPLICABLE: "⚪",
}
_TONES = {Tone.GOOD: "✅", Tone.PARTLY: "⚠️", Tone.BAD: "❌"}
_MARKUP = re.compile(r"[\\`*_\[\]#|~@$]|^[-+]")


def annotations(results: Results) -> list[str]:
    """Return workflow commands: one for each failed check, then how many more there are."""
    return [line for artifact, result in results.items() for line in _annotate(artifact, result)]


def job_summary(results: Results) -> str:
    """Return Markdown: for each file the ladder, what failed and the flips."""
    parts, size = ["## portkit verify\n"], 0
    for at, (artifact, result) in enumerate(results.items()):
        part = "\n".join(_summarise(str(artifact), result)) + "\n"
        size += len(part.encode())
        if size > _LARGEST:
            parts.append(f"{len(results) - at} more files are not listed: the summary is full\n")
            break
        parts.append(part)
    return "\n".join(parts)


def _annotate(artifact: object, result: Verification | PortkitError) -> Iterator[str]:
    if isinstance(result, PortkitError):
        for problem in result.problems:
            yield _command(artifact, "portkit cannot verify", str(problem))
        return
    for rung in failed_rungs(result):
        failed = rung.failed
        for check in failed[:_ANNOTATED]:
            yield _command(artifact, f"portkit {rung.rung}: {check.subject}", _words(check))
        if len(failed) > _ANNOTATED:
            more = f"and {len(failed) - _ANNOTATED} more of the {rung.rung} rung"
            yield _command(artifact, f"portkit {rung.rung}", more)
        if not failed:
            yield _command(artifact, f"portkit {rung.rung}", rung.summary)
    if not result.passed and not failed_rungs(result):
        yield _command(artifact, "portkit", "nothing was compared: NOT verified")


def _words(check: Check) -> str:
    diagnosis = diagnosis_in_words(check)
    what = f"{check.subject}: {check.what}"
    return f"{what}\n{diagnosis}" if diagnosis else what


def _command(artifact: object, title: str, message: str) -> str:
    properties = f"title={_property(title)},file={_property(str(artifact))}"
    return f"::error {properties}::{_data(shown_lines(message))}"


def _data(text: str) -> str:
    """Escape what would end a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(shown(text)).replace(":", "%3A").replace(",", "%2C")


def _summarise(artifact: str, result: Verification | PortkitError) -> Iterator[str]:
    if isinstance(result, PortkitError):
        yield f"### ❌ {_cell(artifact)}: not found out\n"
        yield from (f"- {_cell(str(problem))}" for problem in result.problems)
        return
    verdict = judge(result)
    yield f"### {_TONES[verdict.tone]} {_cell(artifact)}: {_cell(verdict.words)}\n"
    yield f"{_cell(result.source)} → {_cell(result.target)}\n"
    yield from _table(("rung", "verdict", "time", "compared"), map(_rung_row, result.rungs))
    for rung in failed_rungs(result):
        yield from _failures(rung)
    yield from _flips(result)
    if result.not_checked:
        yield "\n**Not checked**\n"
        yield from (f"- {_cell(text)}" for text in result.not_checked)


def _rung_row(rung: RungResult) -> tuple[str, ...]:
    verdict = f"{_MARKS[rung.status]} {rung.status}"
    return _cell(rung.rung), verdict, seconds_in_words(rung.seconds), _cell(rung.summary)


def _failures(rung: RungResult) -> Iterator[str]:
    failed = rung.failed
    if not failed:
        return
    yield f"\n**What failed in the {_cell(rung.rung)} rung**\n"
    rows = (
        (_cell(check.subject), _cell(check.what), _cell(diagnosis_in_words(check)))
        for check in failed[:_LISTED]
    )
    yield from _table(("what", "found", "diagnosis"), rows)
    if len(failed) > _LISTED:
        yield f"\nand {len(failed) - _LISTED} more"


def _flips(verification: Verification) -> Iterator[str]:
    flips = flips_of(verification)
    if not flips:
        return
    yield "\n**Images answered differently**\n"
    rows = (
        (
            *map(_cell, (flip.name, flip.label, flip.before, flip.after)),
            f"{flip.margin:.3g}",
            "yes" if flip.is_tie else "**no**",
        )
        for flip in flips[:_LISTED]
    )
    yield from _table(("image", "label", "source", "port", "margin", "tie"), rows)
    if len(flips) > _LISTED:
        yield f"\nand {len(flips) - _LISTED} more"


def _table(heads: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _cell(text: str) -> str:
    """Return text that Markdown and HTML take for text, on one line."""
    lines = shown_lines(text).replace("\t", " ").split("\n")
    return "<br>".join(_MARKUP.sub(r"\\\g<0>", escape(line, quote=False)) for line in lines)
