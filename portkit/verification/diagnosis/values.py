"""Tensors whose elements are in place but not right: bits, constants, factors, other values."""

from typing import TYPE_CHECKING

import numpy as np

from portkit.evaluation.preprocessing import STD
from portkit.tensors import DType
from portkit.verification.causes import Cause
from portkit.verification.diagnosis.roundings import Rounding, usual_roundings
from portkit.verification.diagnosis.searching import Search, bits_of
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

    from portkit.formats.protocols import Array

_CLOSE = 1e-6  # of the largest value: a product in float32, and one more rounding
_FEWEST = 4  # elements a factor must explain
_THIN = 2**22  # elements that are enough for statistics
_ENOUGH = 16  # elements a correlation is computed from


def as_floats(array: "Array", dtype: DType | None = None) -> "Array | None":
    """Return the values of floats as numpy's narrowest floats that hold them; None for others."""
    if dtype is DType.BF16:
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if array.dtype.kind != "f":
        return None
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return narrow if np.array_equal(narrow.astype(np.float64), array, equal_nan=True) else array


def explain_values(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    """Return what was done to the values of a tensor whose elements are where they should be."""
    bad = int(np.count_nonzero(~np.isfinite(got)))
    if bad and np.isfinite(want).all():
        first = [int(i) for i in np.unravel_index(int((~np.isfinite(got)).argmax()), got.shape)]
        words = f"has {bad:,} of {got.size:,} elements that are not finite, the first at {first}"
        return Diagnosis(Cause.NOT_FINITE, f"{search.name} {words}")
    if bad or not np.isfinite(want).all():
        return None
    return (
        _rounded(search, got, want)
        or _scaled(search, got, want)
        or _scaled_by_axis(search, got, want)
        or _clamped(search, got, want)
    )


def explain_element(search: Search, got: "Array | None", want: "Array | None") -> Diagnosis | None:
    """Say so where exactly one element is wrong, and whether by one bit."""
    if len(search.wrong) != 1:
        return None
    place = int(search.wrong[0])
    at = [int(i) for i in np.unravel_index(place, search.got.shape)]
    floats = got is not None and want is not None
    shown = (got, want) if got is not None and want is not None else (search.got, search.want)
    ours, theirs = (array.reshape(-1)[place].item() for array in shown)
    turned = int(bits_of(search.got)[place]) ^ int(bits_of(search.want)[place])
    rest = f", the other {search.got.size - 1:,} equal their source" * (search.got.size > 1)
    if floats and not np.isfinite(ours) and np.isfinite(theirs):
        return Diagnosis(Cause.NOT_FINITE, f"{search.name} is {ours} at {at}{rest}")
    if floats and turned.bit_count() == 1:
        which = f"bit {turned.bit_length() - 1} of {search.name} is turned at {at}"
        return Diagnosis(Cause.ONE_BIT, f"{which}: {theirs:.9g} became {ours:.9g}{rest}")
    words = f"{search.name} is {ours:.9g} at {at}, its source {theirs:.9g}{rest}"
    return Diagnosis(Cause.ONE_ELEMENT, words)


def explain_constant(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    """Say so where all elements have a value that tensors start with."""
    for cause, words, value in ((Cause.ZEROS, "is all zeros", 0), (Cause.ONES, "is all ones", 1)):
        if np.all(got == value) and not np.all(want == value):
            return search.say(cause, words)
    return None


def explain_negation(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    """Say so where every element has its sign turned; zeros may have kept theirs."""
    few, there = (array.reshape(-1)[search.places] for array in (got, want))
    if not np.array_equal(few, -there):
        return None
    search.compared += 1
    if not want.any() or not np.array_equal(got, -want):
        return None
    return search.say(Cause.NEGATED, "is its source with its sign turned")


def explain_likeness(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    """Say what a tensor's values have in common with its source's, where nothing fits exactly."""
    if got.size < _ENOUGH or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return None
    step = max(1, got.size // _THIN)
    ours, theirs = (a.reshape(-1)[::step].astype(np.float64) for a in (got, want))
    if not (ours.std() and theirs.std()):
        return None
    if _has_same_values(got, want):
        return search.say(Cause.ELEMENTS_PERMUTED, "has its source's values in another order")
    alike = float(np.corrcoef(ours, theirs)[0, 1])
    words = (
        f"correlation with its source {alike:.3g}, {len(search.wrong):,} of {got.size:,} elements "
        f"differ, standard deviation {ours.std():.3g}, its source's {theirs.std():.3g}"
    )
    if alike >= 0.9:
        said = f"{search.name} is close to its source, another checkpoint's: {words}"
        return Diagnosis(Cause.ANOTHER_CHECKPOINT, said)
    if abs(alike) <= max(0.05, 2 / got.size**0.5):
        said = f"{search.name} has nothing to do with its source: {words}"
        return Diagnosis(Cause.UNRELATED, said)
    return None


def _has_same_values(got: "Array", want: "Array") -> bool:
    if got.min() != want.min() or got.max() != want.max():
        return False
    return np.array_equal(np.sort(got, axis=None), np.sort(want, axis=None))


def describe(search: Search, got: "Array | None", want: "Array | None") -> Diagnosis:
    """Return the statistics of a tensor that no usual cause explains."""
    words = (
        f"no usual cause fits {search.name}: {len(search.wrong):,} of {search.got.size:,} differ"
    )
    if got is not None and want is not None and np.isfinite(got).all() and np.isfinite(want).all():
        off = np.abs(got - want)
        words += f", by {off.max():.3g} at most, largest value {float(np.abs(want).max()):.3g}"
        words += f"; mean {got.mean():.3g}, its source's {want.mean():.3g}"
    return Diagnosis(Cause.UNKNOWN, words)


def _rounded(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    for rounding in usual_roundings(want):
        if _fits(rounding, search, got, want):
            return search.say(rounding.cause, rounding.words)
    return None


def _fits(rounding: Rounding, search: Search, got: "Array", want: "Array") -> bool:
    """Try a rounding on a few values, bit for bit where it can be, then on all."""
    largest = float(np.abs(want).max())
    few = [a[:2] if rounding.by_row else a.reshape(-1)[search.places] for a in (got, want)]
    exact = not rounding.slack or (rounding.is_text and got.dtype == np.float32)
    if exact and not np.array_equal(rounding.apply(few[1]), few[0]):
        return False
    if not _near(rounding, few[0], few[1], largest):
        return False
    search.compared += 1
    return _near(rounding, got, want, largest)


def _near(rounding: Rounding, got: "Array", want: "Array", largest: float) -> bool:
    made = rounding.apply(want)
    unit = np.abs(want) if rounding.is_text else largest
    return bool(np.all(np.abs(made - got) <= rounding.slack * unit))


def _factor(got: "Array", want: "Array") -> float | None:
    """Return what every element is a multiple by, None where there is no such number."""
    ours, theirs = got.astype(np.float64), want.astype(np.float64)
    power = float(np.square(theirs).sum())
    if not power or np.count_nonzero(theirs) < _FEWEST:
        return None
    factor = float((ours * theirs).sum()) / power
    off = float(np.abs(ours - factor * theirs).max())
    return factor if off <= _CLOSE * abs(factor) * float(np.abs(theirs).max()) else None


def _scaled(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    few = [array.reshape(-1)[search.places] for array in (got, want)]
    if _factor(*few) is None:
        return None
    search.compared += 1
    factor = _factor(got, want)
    if factor is None or factor == 0 or abs(factor - 1) <= _CLOSE:
        return None
    return search.say(Cause.SCALED, f"is its source times {factor:.6g}")


def _scaled_by_axis(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    """Say so where each output (or input) channel is a multiple of its source's."""
    for axis, called in enumerate(("row", "input channel")[: got.ndim]):
        count = got.shape[axis]
        if got.size < 2 * _FEWEST * count or count < 2:
            continue
        ours, theirs = (
            np.moveaxis(array, axis, 0).reshape(count, -1).astype(np.float64)
            for array in (got, want)
        )
        found = _multiples(ours, theirs)
        if found is None:
            continue
        search.compared += 1
        low, high = float(found.min()), float(found.max())
        words = (
            f"is its source with each {called} times a factor of its own, {low:.4g} … {high:.4g}"
        )
        if axis == 1 and _is_std(found):
            words += " (1/std of ImageNet: the normalisation is folded in)"
            return search.say(Cause.NORMALISED_TWICE, words)
        return search.say(Cause.SCALED, words)
    return None


def _multiples(ours: "Array", theirs: "Array") -> "Array | None":
    for lines in (slice(0, 2), slice(None)):  # two of them tell most others off
        one, two = ours[lines], theirs[lines]
        power = np.square(two).sum(axis=1)
        if not power.all():
            return None
        factors = (one * two).sum(axis=1) / power
        gate = _CLOSE * np.abs(factors) * np.abs(two).max(axis=1)
        if not np.all(np.abs(one - factors[:, None] * two) <= gate[:, None]):
            return None
    return np.asarray(factors)


def _is_std(factors: "Array") -> bool:
    return len(factors) == 3 and np.allclose(factors * STD, 1, rtol=0, atol=1e-4)


def _clamped(search: Search, got: "Array", want: "Array") -> Diagnosis | None:
    least = float(np.abs(got).min())
    ends = float(got.min()), float(got.max())
    kinds: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        (f"is its source clamped to {ends[0]:.6g} … {ends[1]:.6g}", lambda a: a.clip(*ends)),
        (
            f"is its source with no value closer to zero than {least:.6g}",
            lambda a: np.copysign(np.maximum(np.abs(a), least), a),
        ),
    )
    if ends[0] == ends[1]:
        return None
    for words, apply in kinds:
        few = (array.reshape(-1)[search.places] for array in (got, want))
        if np.array_equal(next(few), apply(next(few)).astype(got.dtype)):
            search.compared += 1
            if np.array_equal(got, apply(want).astype(got.dtype)):
                return search.say(Cause.CLAMPED, words)
    return None
