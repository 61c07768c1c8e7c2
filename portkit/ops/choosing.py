"""Choosing entries along an axis: all of them in another order, or some."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError, one_shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(\d+)?)?")


@dataclass(frozen=True, slots=True)
class Flip:
    """Turn axes around, such as BGR to RGB."""

    over: tuple[str | int, ...]

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"flip {' '.join(map(str, self.over))}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Flip, Frame]":
        del symbols
        return Flip(tuple(frame.axis(axis) for axis in self.over)), frame

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        return tuple(np.flip(a, axis=tuple(int(axis) for axis in self.over)) for a in arrays)

    def inverse(self) -> "Flip":
        return self


@dataclass(frozen=True, slots=True)
class Take:
    """Pick entries of one axis by index; all of them in another order can be undone."""

    axis: str | int
    indices: tuple[int, ...]
    length: int | None = None  # of the axis, once bound

    @property
    def kind(self) -> Kind:
        return Kind.EXACT if self._permutes else Kind.LOSSY

    @property
    def _permutes(self) -> bool:
        length = len(self.indices) if self.length is None else self.length
        return sorted(self.indices) == list(range(length))

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.indices[:6])) + (", …" if len(self.indices) > 6 else "")
        return f"take [{shown}] of {self.axis}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Take, Frame]":
        del symbols
        shape, axis = one_shape(frame, "take"), frame.axis(self.axis)
        wrong = [i for i in self.indices if not 0 <= i < shape[axis]]
        if wrong:
            raise OpError(f"{self}: index {wrong[0]} is not in 0 to {shape[axis] - 1}")
        out = (*shape[:axis], len(self.indices), *shape[axis + 1 :])
        return Take(axis, self.indices, shape[axis]), replace(
            frame, shapes=(out,) * len(frame.shapes)
        )

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(a.take(self.indices, axis=int(self.axis)) for a in arrays)

    def inverse(self) -> "Take | None":
        if not self._permutes:
            return None
        back = sorted(range(len(self.indices)), key=self.indices.__getitem__)
        return Take(self.axis, tuple(back), self.length)


@dataclass(frozen=True, slots=True)
class Slice:
    """Keep every n-th entry of some axes, as the "decimated" fc6 of SSD and DeepLab does."""

    ranges: tuple[tuple[str | int, str], ...]  # axis → "start:stop:step"

    @property
    def kind(self) -> Kind:
        return Kind.LOSSY

    def __str__(self) -> str:
        return "slice " + ", ".join(f"{axis} {text}" for axis, text in self.ranges)

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Slice, Frame]":
        del symbols
        shape = list(one_shape(frame, "slice"))
        numbered = tuple((frame.axis(axis), text) for axis, text in self.ranges)
        for axis, text in numbered:
            shape[axis] = len(range(shape[axis])[parse_slice(text)])
        return Slice(numbered), replace(frame, shapes=(tuple(shape),) * len(frame.shapes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        ranges = {int(axis): parse_slice(text) for axis, text in self.ranges}
        return tuple(
            a[tuple(ranges.get(axis, slice(None)) for axis in range(a.ndim))] for a in arrays
        )

    def inverse(self) -> None:
        return None


def parse_slice(text: str) -> slice:
    """Read `start:stop:step`; raise OpError."""
    found = _SLICE.fullmatch(text.replace(" ", ""))
    numbers = [int(part) if part else None for part in found.groups()] if found else [0]
    if found is None or numbers[2] == 0:
        raise OpError(f"{text!r} is no slice, write start:stop:step with a positive step")
    return slice(*numbers)
