"""Numbers on answers: how many are right, how sure that is, and whether two models differ."""

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
    """Return the p-value of McNemar's test on what only one of two models gets right.

    It is McNemar's (1947) in its exact form: a two-sided binomial test on those images.
    """
    from scipy.stats import binomtest

    unlike = only_first + only_second
    return float(binomtest(only_first, unlike).pvalue) if unlike else 1.0


def bound_rate(events: int, total: int) -> float:
    """Return the rate that is exceeded with 5 % at most, after Clopper and Pearson, one-sided."""
    from scipy.stats import binomtest

    found = binomtest(events, total, alternative="less")
    return float(found.proportion_ci(_CONFIDENCE, method="exact").high)


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
