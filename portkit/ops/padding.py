"""Padding with zeros, as where a class or a kernel's rim is new, and cutting such zeros off."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from portkit.ops.base import Frame, Kind, OpError, one_shape
from portkit.tensors import Shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Widths = tuple[tuple[str | int, int, int], ...]  # axis, zeros before, zeros after


@dataclass(frozen=True, slots=True)
class Pad:
    """Lay zeros around a tensor. Written `{pad: {h: [1, 1], w: [1, 1]}}`; undone by `unpad`."""

    widths: Widths

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"pad {_shown(self.widths)}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Pad, Frame]":
        del symbols
        numbered = _numbered(self.widths, frame)
        shape = _grown(one_shape(frame, "pad"), numbered, 1)
        return Pad(numbered), replace(frame, shapes=(shape,) * len(frame.shapes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        return tuple(np.pad(a, _by_axis(self.widths, a.ndim)) for a in arrays)

    def inverse(self) -> "Unpad":
        return Unpad(self.widths)


@dataclass(frozen=True, slots=True)
class Unpad:
    """Cut a rim off that holds nothing but zeros; a rim that holds anything else is refused.

    Written as `pad` is: `{unpad: {out: [0, 24]}}`.
    """

    widths: Widths

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"unpad {_shown(self.widths)}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Unpad, Frame]":
        del symbols
        numbered = _numbered(self.widths, frame)
        shape = _grown(one_shape(frame, "unpad"), numbered, -1)
        if min(shape, default=0) < 0:
            raise OpError(f"{self} cuts off more than {list(frame.shapes[0])} has")
        return Unpad(numbered), replace(frame, shapes=(shape,) * len(frame.shapes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        kept = []
        for array in arrays:
            widths = _by_axis(self.widths, array.ndim)
            inside = tuple(
                slice(before, length - after)
                for (before, after), length in zip(widths, array.shape, strict=True)
            )
            bits = as_bits(array)
            lost = int(np.count_nonzero(bits)) - int(np.count_nonzero(bits[inside]))
            if lost:
                raise OpError(f"{self} would lose {lost} values that are not zero")
            kept.append(array[inside])
        return tuple(kept)

    def inverse(self) -> Pad:
        return Pad(self.widths)


def parse_widths(argument: Mapping[Any, Any]) -> Widths:
    """Read `axis: [before, after]`; raise OpError."""
    widths: list[tuple[str | int, int, int]] = []
    for axis, pair in argument.items():
        if not isinstance(pair, list) or [type(n) for n in pair] != [int, int] or min(pair) < 0:
            raise OpError(f"{axis} needs how many zeros stand before and after: [0, 1]")
        widths.append((axis, pair[0], pair[1]))
    if not any(before or after for _, before, after in widths):
        raise OpError("padding by nothing does nothing")
    return tuple(widths)


def as_bits(array: "Array") -> "Array":
    """Return an array's bits as unsigned numbers: a negative zero and a NaN are not nothing."""
    import numpy as np

    whole: Array = np.ascontiguousarray(array).reshape(array.shape)
    return whole.view(f"u{array.itemsize}") if array.itemsize <= 8 else whole != 0


def _numbered(widths: Widths, frame: Frame) -> Widths:
    return tuple((frame.axis(axis), before, after) for axis, before, after in widths)


def _grown(shape: Shape, widths: Widths, sign: int) -> Shape:
    grown = list(shape)
    for axis, before, after in widths:
        if int(axis) >= len(grown):
            raise OpError(f"{list(shape)} has no axis {axis}")
        grown[int(axis)] += sign * (before + after)
    return tuple(grown)


def _by_axis(widths: Widths, rank: int) -> list[tuple[int, int]]:
    pairs = {int(axis): (before, after) for axis, before, after in widths}
    return [pairs.get(axis, (0, 0)) for axis in range(rank)]


def _shown(widths: Widths) -> str:
    return ", ".join(f"{axis} {before}+{after}" for axis, before, after in widths)
