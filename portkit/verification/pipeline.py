"""The pipeline rung: from an image's pixels, through each side's preprocessing, to its logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from portkit.errors import PortkitError
from portkit.evaluation.callables import Way
from portkit.evaluation.preprocessing import Preprocessing
from portkit.verification.adapting import Adapt
from portkit.verification.answering import stack
from portkit.verification.diagnosis.pixels import CAUSES, Case, explain_pixels
from portkit.verification.judging import judge_output, refuse_form
from portkit.verification.results import (
    Check,
    Diagnosis,
    Evidence,
    RungResult,
    Tolerances,
    rung_of,
)

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Run = Callable[["Array"], "Array"]  # a batch [N, C, H, W] → logits [N, classes]

PIXELS = 1e-6  # of the range of values: other orders of the same arithmetic differ by a tenth
# What a port does inside, by what it must be fed in its place to answer as the source does.
_INSIDE = {
    "not_normalised": "normalised_twice",
    "channels_reversed": "channels_reversed",
    "constants_reversed": "constants_reversed",
    "mirrored": "mirrored",
    "image_transposed": "image_transposed",
}


@dataclass(frozen=True, slots=True)
class Pipelines:
    """Both models as deployed: how each preprocesses an image and what it answers then.

    `exact` is the source in float64, None where it cannot run so; `share` its float32 error as a
    share of the largest value, over more inputs than these.
    """

    ways: tuple[Way, Way]
    source: Run
    port: Run
    exact: Run | None = None
    share: float = 0.0
    adapt: Adapt | None = None  # what the port takes, made of what the source takes


def check_pipeline(
    images: "Sequence[Array]",
    lines: Pipelines,
    documented: Preprocessing | None = None,
    tolerances: Tolerances | None = None,
) -> RungResult:
    """Compare both sides' preprocessing of uint8 images `[H, W, C]`, then what they answer.

    `documented` is what slips are looked for around; where the source's way is a Preprocessing,
    that one is.
    """
    how = lines.ways[0] if isinstance(lines.ways[0], Preprocessing) else documented
    notes = tuple(_notes(lines))
    if not len(images):
        nothing = Check("images", passed=False, what="no images: nothing was compared")
        return rung_of("pipeline", [nothing], nothing.what, notes)
    made = [tuple(way(image) for way in lines.ways) for image in images]
    checks = [
        _compare_pixels(f"image {number}, pixels", image, _in_one_form(pair, lines.adapt), how)
        for number, (image, pair) in enumerate(zip(images, made, strict=True), 1)
    ]
    wanted, given = (stack([pair[i] for pair in made], lines.ways[i]) for i in (0, 1))
    alike = all(check.passed for check in checks)
    logits = _compare_logits(lines, (wanted, given), tolerances or Tolerances())
    if alike and not logits.passed and how is not None:
        logits = replace(logits, diagnosis=_explain_logits(images, wanted, lines, how))
    checks.append(logits)
    return rung_of("pipeline", checks, _sum_up(checks, len(images)), notes)


def _in_one_form(pair: "tuple[Array, ...]", adapt: Adapt | None) -> "tuple[Array, ...]":
    """Return what the port should be fed, by the mapping, and what it is fed."""
    wanted, got = pair
    return (adapt(wanted[None])[0].astype(wanted.dtype) if adapt else wanted), got


def _compare_pixels(
    subject: str, image: "Array", pair: "tuple[Array, ...]", how: Preprocessing | None
) -> Check:
    wanted, got = pair
    refused = refuse_form(subject, got, wanted)
    if refused:
        return refused
    difference = np.abs(got.astype(np.float64) - wanted)
    worst, span = float(difference.max()), float(np.ptp(wanted)) or float(np.abs(wanted).max())
    gate = PIXELS * span
    passed = bool(worst <= gate)
    what = f"max |port - source| {worst:.2g}, gate {gate:.2g}"
    diagnosis = None
    if not passed:
        wrong = int(np.count_nonzero(~(difference <= gate)))
        what = f"{wrong} of {difference.size} values differ, {what}"
        diagnosis = explain_pixels(image, wanted, got, how) if how else None
    return Check(subject, passed, what, {"max_abs": worst, "range": span}, diagnosis)


def _compare_logits(
    lines: Pipelines, batches: "tuple[Array, Array]", tolerances: Tolerances
) -> Check:
    wanted, given = batches
    source = lines.source(wanted)
    exact = lines.exact(wanted) if lines.exact else None
    try:
        port = lines.port(given)
    except PortkitError as error:
        return Check("logits", passed=False, what=f"the port cannot run: {error.problems[0].what}")
    if source.ndim != 2 or len(source) != len(wanted):
        what = f"the source answers {list(source.shape)} to {len(wanted)} images"
        return Check("logits", passed=False, what=what)
    return judge_output("logits", Evidence(port, source, exact, lines.share), tolerances)


def _explain_logits(
    images: "Sequence[Array]", wanted: "Array", lines: Pipelines, how: Preprocessing
) -> Diagnosis | None:
    """Find what the port must be fed instead to answer as the source: it does the rest inside."""
    source = lines.source(wanted)
    exact = lines.exact(wanted) if lines.exact else None
    cases = [Case(image, how, right) for image, right in zip(images, wanted, strict=True)]
    for fed, cause in _INSIDE.items():
        for batch, words in _variants(fed, cases):
            given = lines.adapt(batch).astype(batch.dtype) if lines.adapt else batch
            try:
                port = lines.port(given)
            except PortkitError:
                continue
            evidence = Evidence(port, source, exact, lines.share)
            if judge_output("logits", evidence, Tolerances()).passed:
                told = f"fed with images as if {words}, the port answers as the source does"
                return Diagnosis(cause, f"{told}: its model does part of the preprocessing")
    return None


def _variants(cause: str, cases: list[Case]) -> "Iterator[tuple[Array, str]]":
    """Yield batches that suffer from a cause, one for each way it shows itself."""
    for several in zip(*(CAUSES[cause](case) for case in cases), strict=True):
        words, made = several[0][0], [one[1] for one in several]
        if len({one.shape for one in made}) == 1:
            yield np.ascontiguousarray(np.stack(made), np.float32), words


def _notes(lines: Pipelines) -> Iterator[str]:
    source, port = lines.ways
    if source == port:
        yield f"both sides use the same preprocessing: {source}"
    else:
        yield f"the source's preprocessing: {source}"
        yield f"the port's: {port}"
    yield "images are decoded by Pillow for both: other decoders are not compared"


def _sum_up(checks: list[Check], count: int) -> str:
    worst = max((c.numbers["max_abs"] for c in checks[:-1] if "max_abs" in c.numbers), default=None)
    pixels = "no pixels comparable" if worst is None else f"pixels differ by {worst:.2g} at most"
    rho = checks[-1].numbers.get("rho")
    return f"{count} images: {pixels}" + (f", ρ {rho:.2f}" if rho is not None else "")
