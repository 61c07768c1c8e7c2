"""Numbers on answers: how many are right, how sure that is, and how two models' answers differ."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.errors import PortkitError, Problems

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of `total` images have their label among the first `k` answers."""

    k: int
    right: int
    total: int
    low: float  # the 95 % confidence interval of the share (Clopper & Pearson 1934: exact)
    high: float

    @property
    def share(self) -> float:
        return self.right / self.total

    def __str__(self) -> str:
        percents = f"{self.share:.2%} ({self.low:.2%} to {self.high:.2%})"
        return f"top-{self.k} {percents}, {self.right} of {self.total} images"


@dataclass(frozen=True, slots=True)
class Flip:
    """One image that two models answer differently."""

    index: int
    label: int
    first: int
    second: int
    margin: float  # how far the first model prefers its answer over the second's, in logits


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Two models on the same images."""

    total: int
    flipped: tuple[Flip, ...]
    only_first_right: int
    only_second_right: int
    p_value: float  # exact McNemar: how likely so uneven a pair of numbers is by chance

    @property
    def flips(self) -> int:
        return len(self.flipped)

    @property
    def agreement(self) -> float:
        return 1 - self.flips / self.total

    def __str__(self) -> str:
        return (
            f"{self.flips} of {self.total} answers differ, right only before "
            f"{self.only_first_right}, only after {self.only_second_right}, "
            f"McNemar p = {self.p_value:.3g}"
        )


def measure_accuracy(logits: "Array", labels: "Array", k: int = 1) -> Accuracy:
    """Count the labels `[N]` among the k largest of `[N, classes]` logits.

    Of equal logits the lower class counts as larger, as in argmax. Raise PortkitError where there
    is nothing to count, or NaN among the logits.
    """
    from scipy.stats import binomtest

    answered = find_right(logits, labels, k)
    right, total = int(answered.sum()), len(labels)
    interval = binomtest(right, total).proportion_ci(_CONFIDENCE, method="exact")
    return Accuracy(k, right, total, float(interval.low), float(interval.high))


def find_right(logits: "Array", labels: "Array", k: int = 1) -> "Array":
    """Say of each image whether its label is among the k largest logits, bool `[N]`."""
    import numpy as np

    _refuse_unusable(logits, labels)
    if not 1 <= k <= logits.shape[1]:
        raise PortkitError.at("logits", f"have {logits.shape[1]} classes, asked for top-{k}")
    own = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    answered: Array = rank < k
    return answered


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test on what only one of two models gets right."""
    from scipy.stats import binomtest

    unlike = only_first + only_second
    return float(binomtest(only_first, unlike).pvalue) if unlike else 1.0


def bound_rate(events: int, total: int) -> float:
    """Return the rate that is exceeded with 5 % at most, after Clopper and Pearson, one-sided."""
    from scipy.stats import binomtest

    found = binomtest(events, total, alternative="less")
    return float(found.proportion_ci(_CONFIDENCE, method="exact").high)


def compare_predictions(first: "Array", second: "Array", labels: "Array") -> PairedResult:
    """Compare two models' logits `[N, classes]` on the same images with labels `[N]`.

    The test is McNemar's (1947) in its exact form: a two-sided binomial test on the images that
    only one of the two gets right. Raise PortkitError for unlike shapes, no images, or NaN.
    """
    if first.shape != second.shape:
        what = f"are {list(first.shape)} and {list(second.shape)}, of unlike shapes"
        raise PortkitError.at("logits", what)
    for logits in (first, second):
        _refuse_unusable(logits, labels)
    one, two = first.argmax(axis=1), second.argmax(axis=1)
    flipped = tuple(
        Flip(
            i, int(labels[i]), int(one[i]), int(two[i]), float(first[i, one[i]] - first[i, two[i]])
        )
        for i in (one != two).nonzero()[0].tolist()
    )
    only_first = int(((one == labels) & (two != labels)).sum())
    only_second = int(((one != labels) & (two == labels)).sum())
    p_value = mcnemar(only_first, only_second)
    return PairedResult(len(labels), flipped, only_first, only_second, p_value)


def _refuse_unusable(logits: "Array", labels: "Array") -> None:
    import numpy as np

    problems = Problems()
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        needed = "[images, classes] and [images] are needed"
        problems.add("logits", f"are {list(logits.shape)}, labels {list(labels.shape)}; {needed}")
    elif not len(labels):
        problems.add("logits", "are of 0 images, at least 1 is needed")
    elif labels.min() < 0 or labels.max() >= logits.shape[1]:
        reach = f"{labels.min()} to {labels.max()}"
        problems.add("labels", f"reach from {reach}, the logits have {logits.shape[1]} classes")
    elif np.isnan(logits).any():
        problems.add("logits", f"are NaN for {int(np.isnan(logits).any(axis=1).sum())} images")
    problems.raise_if_any()
