"""A verification as tables for people at a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, log10

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from portkit.report.words import (
    Tone,
    diagnosis_in_words,
    flip_in_words,
    flips_of,
    judge,
    layers_of,
    scale_of,
    seconds_in_words,
    shown,
    shown_lines,
    size_in_words,
    size_of,
)
from portkit.verification.results import Check, RungResult, Status, Verification

_SHOWN = 20  # failed checks of a rung; the rest is counted
_FLIPS = 10
_BARS = 20  # layers drawn where one failed
_BARS_WHEN_PASSED = 5
_CELLS = 32  # of the longest bar
_STYLES = {
    Status.PASSED: "green",
    Status.FAILED: "bold red",
    Status.NOT_CHECKED: "yellow",
    Status.NOT_APPLICABLE: "dim",
}
_TONES = {Tone.GOOD: "bold green", Tone.PARTLY: "bold yellow", Tone.BAD: "bold red"}


def render_verification(verification: Verification) -> RenderableType:
    """Return the rungs, what failed, what is worth knowing and what was not checked."""
    return Group(*_parts(verification))


def _parts(verification: Verification) -> Iterator[RenderableType]:
    sides = f"{verification.artifact}: {verification.source} → {verification.target}"
    yield Text(shown(sides))
    yield _table(verification.rungs)
    for rung in verification.rungs:
        yield from _failures(rung)
    yield from _bars(layers_of(verification))
    yield from _flips(verification)
    for rung in verification.rungs:
        yield from (Text(shown_lines(f"note: {note}")) for note in rung.notes)
    for text in verification.not_checked:
        yield Text(shown_lines(f"not checked: {text}"), "dim")
    if verification.environment:
        facts = (f"{name} {value}" for name, value in verification.environment.items())
        yield Text(shown(f"ran with: {', '.join(facts)}"), "dim")
    verdict = judge(verification)
    yield Text(verdict.words, _TONES[verdict.tone])


def _table(rungs: tuple[RungResult, ...]) -> Table:
    times = [seconds_in_words(rung.seconds) for rung in rungs]
    timed = any(times)
    table = Table(box=None, pad_edge=False)
    for heading in ("rung", "verdict"):
        table.add_column(heading, overflow="fold", no_wrap=True)
    if timed:
        table.add_column("time", justify="right", no_wrap=True)
    table.add_column("compared", overflow="fold")
    for rung, time in zip(rungs, times, strict=True):
        verdict = Text(rung.status, _STYLES[rung.status])
        summary = Text(shown_lines(rung.summary))
        table.add_row(rung.rung, verdict, *([time] if timed else []), summary)
    return table


def _failures(rung: RungResult) -> Iterator[Text]:
    failed = rung.failed
    for check in failed[:_SHOWN]:
        yield Text(f"FAIL {shown(check.subject)}: {shown_lines(check.what)}", "red")
        if check.diagnosis is not None:
            yield Text(f"     {shown_lines(diagnosis_in_words(check))}", "bold")
    if len(failed) > _SHOWN:
        yield Text(f"and {len(failed) - _SHOWN} more of the {rung.rung} rung", "red")


def _bars(layers: Sequence[Check]) -> Iterator[RenderableType]:
    """Draw the layers with the largest ρ, in the model's order, on a logarithmic axis."""
    most = _BARS_WHEN_PASSED if all(check.passed for check in layers) else _BARS
    sizes = [size_of(check) for check in layers]
    by_size = sorted(range(len(layers)), key=lambda at: (layers[at].passed, -sizes[at], at))
    worst = [layers[at] for at in sorted(by_size[:most])]
    if not worst:
        return
    scale = scale_of(layers)
    what = f"{scale.title}, the worst {len(worst)} of {len(layers)}"
    yield Text(f"{what}, log scale, │ at gate {scale.gate:g}")
    axis = _axis(worst, scale.gate)
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ({"overflow": "fold"}, {"no_wrap": True}, {"no_wrap": True}):
        table.add_column(**column)
    for check in worst:
        style = "" if check.passed else "bold red"
        mark = "" if check.passed else "  FAIL"
        cells = axis.bar(size_of(check))
        name, size = shown(check.subject), size_in_words(size_of(check))
        table.add_row(*(Text(words, style) for words in (name, cells, f"{size}{mark}")))
    yield table


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis of `_CELLS` characters; the gate lies between its ends."""

    low: float  # exponents of ten
    high: float
    gate: float

    def bar(self, size: float) -> str:
        """Draw a bar, and the gate across it."""
        gate = self._cell(self.gate)
        length = 0 if size <= 0 else self._cell(size) if isfinite(size) else _CELLS
        bar = "█" * length + " " * (_CELLS - length)
        return f"{bar[:gate]}│{bar[gate:]}"

    def _cell(self, size: float) -> int:
        return round((log10(size) - self.low) / (self.high - self.low) * _CELLS)


def _axis(layers: Sequence[Check], gate: float) -> _Axis:
    logs = [log10(size) for check in layers if (size := size_of(check)) > 0 and isfinite(size)]
    low, high = min([*logs, log10(gate) - 1]) - 0.5, max([*logs, log10(gate) + 1])
    return _Axis(low, high, gate)


def _flips(verification: Verification) -> Iterator[Text]:
    flips = flips_of(verification)
    for flip in flips[:_FLIPS]:
        style = "dim" if flip.is_tie else "red"
        yield Text(f"flip {shown(flip_in_words(flip))}", style)
    if len(flips) > _FLIPS:
        yield Text(f"and {len(flips) - _FLIPS} more flips")
