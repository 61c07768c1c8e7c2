"""A verification as tables for people."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from portkit.verification.results import RungResult, Status, Verification

_SHOWN = 20  # failed checks; the rest is counted
_STYLES = {Status.PASSED: "green", Status.FAILED: "bold red", Status.NOT_CHECKED: "yellow"}


def render_verification(verification: Verification) -> RenderableType:
    """Return the rungs, what failed, what is worth knowing and what was not checked."""
    return Group(*_parts(verification))


def _parts(verification: Verification) -> Iterator[RenderableType]:
    yield Text(f"{verification.artifact}: {verification.source} → {verification.target}")
    table = Table(box=None, pad_edge=False)
    for heading in ("rung", "verdict", "compared"):
        table.add_column(heading, overflow="fold")
    for rung in verification.rungs:
        table.add_row(rung.rung, Text(rung.status, _STYLES[rung.status]), rung.summary)
    yield table
    for rung in verification.rungs:
        yield from _details(rung)
    for text in verification.not_checked:
        yield Text(f"not checked: {text}", "dim")
    word, style = (
        ("verified", "bold green") if verification.passed else ("NOT verified", "bold red")
    )
    yield Text(word, style)


def _details(rung: RungResult) -> Iterator[RenderableType]:
    failed = rung.failed
    for check in failed[:_SHOWN]:
        yield Text(f"FAIL {check.subject}: {check.what}", "red")
    if len(failed) > _SHOWN:
        yield Text(f"and {len(failed) - _SHOWN} more")
    for note in rung.notes:
        yield Text(f"note: {note}")
