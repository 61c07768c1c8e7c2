"""A verification as tables for people."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from portkit.verification.results import NOT_ASKED, RungResult, Status, Verification

_SHOWN = 20  # failed checks of a rung; the rest is counted
_STYLES = {Status.PASSED: "green", Status.FAILED: "bold red", Status.NOT_CHECKED: "yellow", Status.NOT_APPLICABLE: "dim"}


def render_verification(verification: Verification) -> RenderableType:
    """Return the rungs, what failed, what is worth knowing and what was not checked."""
    return Group(*_parts(verification))


def _parts(verification: Verification) -> Iterator[RenderableType]:
    yield Text(f"{verification.artifact}: {verification.source} → {verification.target}")
    yield _table(verification.rungs)
    for rung in verification.rungs:
        yield from _failures(rung)
    for rung in verification.rungs:
        yield from (Text(f"note: {note}") for note in rung.notes)
    for text in verification.not_checked:
        yield Text(f"not checked: {text}", "dim")
    yield _verdict(verification)


def _table(rungs: tuple[RungResult, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("rung", "verdict", "compared"):
        table.add_column(heading, overflow="fold")
    for rung in rungs:
        table.add_row(rung.rung, Text(rung.status, _STYLES[rung.status]), Text(rung.summary))
    return table


def _failures(rung: RungResult) -> Iterator[Text]:
    failed = rung.failed
    for check in failed[:_SHOWN]:
        yield Text(f"FAIL {check.subject}: {check.what}", "red")
    if len(failed) > _SHOWN:
        yield Text(f"and {len(failed) - _SHOWN} more of the {rung.rung} rung", "red")


def _verdict(verification: Verification) -> Text:
    if not verification.passed:
        return Text("NOT verified", "bold red")
    left = [rung.rung for rung in verification.rungs if rung.status is Status.NOT_CHECKED]
    if left:
        return Text(f"verified, all but {' and '.join(left)}", "bold yellow")
    if any(text.endswith(NOT_ASKED) for text in verification.not_checked):
        climbed = " and ".join(rung.rung for rung in verification.rungs)
        return Text(f"verified: {climbed} only", "bold yellow")
    return Text("verified", "bold green")
