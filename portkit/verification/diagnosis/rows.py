"""Rows in another order: classes sorted otherwise, channels permuted."""

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from portkit.verification.causes import Cause
from portkit.verification.diagnosis.searching import Search
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_FEW = 8  # rows looked for before all are
_CALLED = ("rows", "input channels")


def explain_rows(search: Search) -> Diagnosis | None:
    """Say so where the tensor has its source's rows, or input channels, in another order."""
    for axis, called in enumerate(_CALLED[: search.got.ndim]):
        if search.got.shape[axis] < 3:
            continue
        moved = _moved(*(np.moveaxis(a, axis, 0) for a in (search.got, search.want)))
        if moved is None:
            continue
        search.compared += 1
        count = search.got.shape[axis]
        places = [place for place, origin in enumerate(moved) if origin != place]
        first = places[0]
        if len(places) == 2:
            words = f"equals its source with {called} {places[0]} and {places[1]} swapped"
        else:
            words = (
                f"has its source's {called} in another order, {len(places):,} of {count:,} moved, "
                f"the first: {first} is its source's {moved[first]}"
            )
        return search.say(Cause.ROWS_PERMUTED, words)
    return None


def _digest(row: "Array") -> bytes:
    return blake2b(row.tobytes(), digest_size=16).digest()


def _moved(got: "Array", want: "Array") -> list[int] | None:
    """Return which row of `want` each row of `got` is; None unless all are there, as often."""
    theirs = [_digest(row) for row in want]
    if not {_digest(row) for row in got[:_FEW]} <= set(theirs):
        return None
    ours = [_digest(row) for row in got]
    if Counter(ours) != Counter(theirs):
        return None
    where: dict[bytes, list[int]] = {}
    for place, row in enumerate(theirs):
        where.setdefault(row, []).append(place)
    return [where[row][0] if theirs[i] != row else i for i, row in enumerate(ours)]
