"""Comparing a tensor with many candidates: a few telling places first, all of them on a match."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from portkit.verification.causes import Cause
from portkit.verification.diagnosis.moves import Move
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_PLACES = 512  # half of them where the tensor is wrong


@dataclass(slots=True)
class Search:
    """One wrong tensor and what it should be; neither is written to."""

    name: str
    got: "Array"
    want: "Array"
    compared: int = 0  # whole tensors compared with the wrong one
    wrong: "Array" = field(init=False)  # flat places where bits differ
    places: "Array" = field(init=False)

    def __post_init__(self) -> None:
        self.wrong = np.flatnonzero(bits_of(self.got) != bits_of(self.want))
        draw = np.random.default_rng(0)
        anywhere = draw.integers(0, self.got.size, _PLACES // 2)
        telling = self.wrong[draw.integers(0, len(self.wrong), _PLACES // 2)]
        self.places = np.concatenate([telling, anywhere]) if len(self.wrong) else anywhere

    @property
    def every(self) -> str:
        return f"{self.got.size:,} of {self.got.size:,} elements"

    def is_moved(self, move: Move) -> bool:
        """Say whether the tensor is what it should be with its elements moved."""
        there = bits_of(self.want)[move.trace(self.places)]
        if not np.array_equal(bits_of(self.got)[self.places], there):
            return False
        return self.is_all(move.apply(self.want))

    def is_like(self, other: "Array") -> bool:
        """Say whether the tensor has the bits of another of its shape."""
        seen = bits_of(self.got)[self.places], bits_of(other)[self.places]
        return np.array_equal(*seen) and self.is_all(other)

    def is_all(self, other: "Array") -> bool:
        self.compared += 1
        return np.array_equal(bits_of(self.got), bits_of(other))

    def say(self, cause: Cause, words: str) -> Diagnosis:
        """Return a diagnosis that holds for every element."""
        return Diagnosis(cause, f"{self.name} {words}, {self.every}")


def bits_of(array: "Array") -> "Array":
    """Return the elements in a row, as unsigned integers of their size."""
    row = np.ascontiguousarray(array).reshape(-1)
    return row.view(f"u{row.dtype.itemsize}")
