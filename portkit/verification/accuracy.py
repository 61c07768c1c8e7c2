"""The accuracy rung: whether the port is as often right as the source, on the same images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from portkit.errors import PortkitError
from portkit.evaluation.metrics import (
    Accuracy,
    bound_rate,
    find_right,
    mcnemar,
    measure_accuracy,
)
from portkit.verification.answering import Seen
from portkit.verification.results import Check, RungResult, Status, rung_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_ALPHA = 0.05  # how often chance alone may look like a loss
_TOP = 5


def check_accuracy(source: "Array", port: "Array", images: Seen) -> RungResult:
    """Compare how often both models' logits `[n, classes]` are right, paired image by image.

    A port that is worse than chance explains (exact McNemar, p < 0.05) fails; so do NaN, no images
    and labels that the models have no answer for.
    """
    if images.labels is None:
        why_not = "the images have no labels"
        return RungResult("accuracy", Status.NOT_CHECKED, why_not, notes=images.notes)
    labels = np.array(images.labels, np.int64)
    try:
        checks = list(_compare(source, port, labels))
        before, after = (measure_accuracy(logits, labels) for logits in (source, port))
    except PortkitError as error:
        refused = [Check(p.where, passed=False, what=p.what) for p in error.problems]
        return rung_of("accuracy", refused, refused[0].what, images.notes)
    doubts = _doubts(checks, before, after, source.shape[1])
    notes = (*_sources(images), *doubts, _bound_in_words(source, port))
    return rung_of("accuracy", checks, f"{after}, the source {before.share:.2%}", notes)


def _compare(source: "Array", port: "Array", labels: "Array") -> Iterator[Check]:
    """Yield a check for top-1 and, where there are more than 5 classes, one for top-5."""
    if source.shape != port.shape:
        what = f"shape {list(port.shape)}, expected {list(source.shape)}"
        raise PortkitError.at("logits", what)
    for k in (1, _TOP) if source.ndim == 2 and source.shape[1] > _TOP else (1,):
        before, after = (find_right(logits, labels, k) for logits in (source, port))
        lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
        p_value = mcnemar(lost, gained)
        worse = p_value < _ALPHA and lost > gained
        measured = [measure_accuracy(logits, labels, k) for logits in (source, port)]
        what = (
            f"source {_in_words(measured[0])}, port {_in_words(measured[1])}; "
            f"{lost} lost, {gained} gained, McNemar p = {p_value:.3g}"
        )
        if worse:
            what += f": worse than chance explains (p < {_ALPHA:g})"
        numbers = {
            "source": measured[0].share,
            "port": measured[1].share,
            "lost": lost,
            "gained": gained,
            "p_value": p_value,
        }
        yield Check(f"top-{k}", not worse, what, numbers)


def _in_words(found: Accuracy) -> str:
    return f"{found.share:.2%} ({found.low:.2%} to {found.high:.2%})"


def _sources(images: Seen) -> Iterator[str]:
    yield from images.notes
    if images.words:
        yield f"{images.words}; ids {images.digest}"


def _doubts(checks: list[Check], before: Accuracy, after: Accuracy, classes: int) -> Iterator[str]:
    """Yield what makes labels doubtful, and what no faithful port does."""
    if before.low <= 1 / classes and after.low <= 1 / classes:
        yield (
            f"the source itself is right on {before.share:.2%} of the images, guessing is on "
            f"{1 / classes:.2%}: are the labels in another order, or the weights untrained?"
        )
    top = checks[0].numbers
    if top["p_value"] < _ALPHA and top["gained"] > top["lost"]:
        yield "the port is right more often than the source: it does not compute the same"


def _bound_in_words(source: "Array", port: "Array") -> str:
    disagreeing = int((source.argmax(axis=1) != port.argmax(axis=1)).sum())
    bound = bound_rate(disagreeing, len(source))
    words = f"{disagreeing} answers differ: at most {bound:.2%} of all such images do"
    return f"{words} (95 %, one-sided)"
