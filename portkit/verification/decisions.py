"""The decisions rung: whether both models answer alike, ties aside.

A flip is a tie if rounding alone can turn it: the source prefers its own answer over the port's by
at most twice the tolerance, 8 times its own float32 error. A correct port has no other flips.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from portkit.evaluation.metrics import bound_rate
from portkit.verification.answering import Seen
from portkit.verification.judging import FLOOR, NOISES, refuse_form
from portkit.verification.results import Check, FlippedImage, RungResult, rung_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_PICTURES = 24  # flips that are shown with their image
_FEW = 20  # images; the same answer to more of them tells little
_TOP = 5
_NAMED = 3  # images that a failure names


@dataclass(frozen=True, slots=True)
class _Changed:
    """One image whose first k answers differ, and how far the source is from answering so."""

    place: int
    margin: float


def check_decisions(source: "Array", port: "Array", noise: float, images: Seen) -> RungResult:
    """Compare the answers of both models' logits `[n, classes]` to the same images.

    `noise` is the source's float32 error, max|source₃₂ - exact|. NaN, no images, shapes that
    differ, and answers that are ties throughout fail.
    """
    refused = _refuse(source, port, noise, images)
    if refused:
        return rung_of("decisions", [refused], refused.what, images.notes)
    tolerance = max(NOISES * noise, FLOOR * float(np.abs(source).max()))
    checks = [_check_margins(source, tolerance)]
    flipped = find_changed(source, port, 1)
    checks.append(_check_changed("top-1", flipped, tolerance, images))
    if source.shape[1] > _TOP:
        checks.append(_check_changed("top-5", find_changed(source, port, _TOP), tolerance, images))
    flips = tuple(_flips(flipped, (source, port), tolerance, images))
    notes = tuple(_notes(source, len(flipped), images))
    result = rung_of("decisions", checks, _sum_up(flips, len(source)), notes)
    return replace(result, flips=flips)


def _refuse(source: "Array", port: "Array", noise: float, images: Seen) -> Check | None:
    """Return a failed check where the answers cannot be compared."""
    refused = refuse_form("logits", port, source)
    if refused:
        return refused
    what = ""
    if source.ndim != 2 or len(source) != len(images.ids):
        what = f"logits are {list(source.shape)} for {len(images.ids)} images"
    elif source.shape[1] < 2:
        what = "the models have one answer only: there is nothing to decide"
    elif not 0 <= noise < float("inf"):
        what = f"the source's float32 error is {noise}: what is a tie cannot be told"
    return Check("logits", passed=False, what=what) if what else None


def _check_margins(source: "Array", tolerance: float) -> Check:
    """Fail where all answers of the source are ties: any port's would be excused."""
    ordered = np.sort(source.astype(np.float64), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    told = int(np.count_nonzero(margins > 2 * tolerance))
    what = f"{told} of {len(source)} answers are no ties (margin above {2 * tolerance:.2g})"
    return Check("source", told > 0, what, {"median_margin": float(np.median(margins))})


def find_changed(source: "Array", port: "Array", k: int) -> tuple[_Changed, ...]:
    """Return the images whose set of first k answers differs, the largest margin first.

    The margin is how far the source prefers what the port leaves out over what it takes in. Of
    equal logits the lower class comes first, as in argmax.
    """
    first, second = (np.argsort(-logits, axis=1, kind="stable")[:, :k] for logits in (source, port))
    changed = []
    for place in (np.sort(first) != np.sort(second)).any(axis=1).nonzero()[0].tolist():
        row = source[place].astype(np.float64)
        left, taken = (
            np.setdiff1d(first[place], second[place]),
            np.setdiff1d(second[place], first[place]),
        )
        changed.append(_Changed(place, float(row[left].max() - row[taken].min())))
    return tuple(sorted(changed, key=lambda one: (-one.margin, one.place)))


def _check_changed(
    subject: str, changed: tuple[_Changed, ...], tolerance: float, images: Seen
) -> Check:
    gate = 2 * tolerance
    wrong = [one for one in changed if not one.margin <= gate]
    total = len(images.ids)
    what = f"{total - len(changed)} of {total} answers are the same"
    if len(changed) > len(wrong):
        what += f", {len(changed) - len(wrong)} differ by a tie"
    if wrong:
        shown = ", ".join(f"{images.ids[o.place]} by {o.margin:.3g}" for o in wrong[:_NAMED])
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        what += f", {len(wrong)} differ by more than a tie ({gate:.2g}): {shown}{more}"
    largest = max((one.margin for one in changed), default=0.0)
    return Check(subject, not wrong, what, {"changed": len(changed), "largest_margin": largest})


def _flips(
    changed: tuple[_Changed, ...],
    logits: "tuple[Array, Array]",
    tolerance: float,
    images: Seen,
) -> Iterator[FlippedImage]:
    source, port = logits
    for number, one in enumerate(changed):
        yield FlippedImage(
            images.ids[one.place],
            "" if images.labels is None else images.name_of(images.labels[one.place]),
            images.name_of(int(source[one.place].argmax())),
            images.name_of(int(port[one.place].argmax())),
            one.margin,
            is_tie=bool(one.margin <= 2 * tolerance),
            picture=images.picture(one.place) if number < _PICTURES else b"",
        )


def _notes(source: "Array", flips: int, images: Seen) -> Iterator[str]:
    yield from images.notes
    if images.words:
        yield f"{images.words}; ids {images.digest[:16]}"
    bound = bound_rate(flips, len(source))
    yield f"at most {bound:.2%} of all such images are answered otherwise (95 %, one-sided)"
    distinct = len(np.unique(source.argmax(axis=1)))
    if distinct == 1 and len(source) > _FEW:
        yield f"vacuous: the source gives one answer to all {len(source)} images"


def _sum_up(flips: tuple[FlippedImage, ...], total: int) -> str:
    if not flips:
        return f"{total} of {total} images are answered alike"
    ties = sum(flip.is_tie for flip in flips)
    return f"{total - len(flips)} of {total} images are answered alike, {ties} are ties"
