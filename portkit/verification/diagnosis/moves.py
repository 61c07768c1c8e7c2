"""Ways in which the elements of a tensor end up in wrong places, and what each is called.

A move says where each element comes from before anything is moved, so a few places are looked up
first and whole tensors are compared only where those agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from portkit.tensors import Shape
from portkit.verification.causes import Cause

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

MAX_RANK = 5  # 120 orders of axes
ROLLS = (1, -1, 2, -2, 3, -3, 4, -4)
KERNELS = range(2, 17)  # sizes of square maps that a row of a linear layer may have been


class Move(Protocol):
    """A rearrangement of the elements of a tensor of known shape."""

    def apply(self, array: "Array", /) -> "Array":
        """Return the rearranged elements, in an array of any shape."""
        ...

    def trace(self, places: "Array", /) -> "Array":
        """Return which flat places of the tensor end up in these flat places."""
        ...


@dataclass(frozen=True, slots=True)
class Permute:
    """The tensor read as `split`, its axes put in another order."""

    split: Shape
    order: tuple[int, ...]

    def apply(self, array: "Array", /) -> "Array":
        return array.reshape(self.split).transpose(self.order)

    def trace(self, places: "Array", /) -> "Array":
        moved = np.unravel_index(places, tuple(self.split[axis] for axis in self.order))
        index = [moved[self.order.index(axis)] for axis in range(len(self.split))]
        return np.asarray(np.ravel_multi_index(tuple(index), self.split))


@dataclass(frozen=True, slots=True)
class Flip:
    """Some axes read backwards."""

    shape: Shape
    axes: tuple[int, ...]

    def apply(self, array: "Array", /) -> "Array":
        return np.flip(array, self.axes)

    def trace(self, places: "Array", /) -> "Array":
        index = list(np.unravel_index(places, self.shape))
        for axis in self.axes:
            index[axis] = self.shape[axis] - 1 - index[axis]
        return np.asarray(np.ravel_multi_index(tuple(index), self.shape))


@dataclass(frozen=True, slots=True)
class Roll:
    """One axis shifted, its end brought to its beginning."""

    shape: Shape
    axis: int
    by: int

    def apply(self, array: "Array", /) -> "Array":
        return np.roll(array, self.by, self.axis)

    def trace(self, places: "Array", /) -> "Array":
        index = list(np.unravel_index(places, self.shape))
        index[self.axis] = (index[self.axis] - self.by) % self.shape[self.axis]
        return np.asarray(np.ravel_multi_index(tuple(index), self.shape))


@dataclass(frozen=True, slots=True)
class Named:
    """A move, the cause it stands for, and what it says about a tensor: "{name} {words}"."""

    cause: Cause
    words: str
    move: Move


def usual_moves(shape: Shape, splits: tuple[Shape, ...] = ()) -> Iterator[Named]:
    """Yield what usually goes wrong with tensors of a shape, the commonest first.

    `splits` are the shapes that the tensor's elements had elsewhere, such as `[out, c, h, w]` of a
    linear layer's `[out, c·h·w]`.
    """
    yield from _transpositions(shape)
    yield from _flips(shape)
    yield from _rolls(shape)
    known = {shape: None} | dict.fromkeys(splits) | dict.fromkeys(_square_maps(shape))
    for split in known:
        yield from _orders(split)


def _wide(shape: Shape) -> list[int]:
    return [axis for axis, size in enumerate(shape) if size > 1]


def _reorderings(shape: Shape) -> Iterator[tuple[int, ...]]:
    """Yield every other order of the axes that have more than one element."""
    wide = _wide(shape)
    if len(shape) > MAX_RANK:
        return
    for moved in permutations(wide):
        order = list(range(len(shape)))
        for place, axis in zip(wide, moved, strict=True):
            order[place] = axis
        if list(moved) != wide:
            yield tuple(order)


def _transpositions(shape: Shape) -> Iterator[Named]:
    """Yield the orders of axes that leave the shape as it is."""
    orders = [o for o in _reorderings(shape) if tuple(shape[axis] for axis in o) == shape]
    for order in sorted(orders, key=lambda o: sum(a != b for a, b in enumerate(o))):
        moved = [axis for axis, other in enumerate(order) if axis != other]
        cause = Cause.TRANSPOSED
        words = f"equals its source with its axes in the order {list(order)}"
        if moved == [0, 1]:
            words = "equals the transpose of its source"
        elif len(moved) == 2 and moved[0] >= 2:
            cause = Cause.KERNEL_TRANSPOSED
            words = "equals its source with its kernels' height and width swapped"
        yield Named(cause, words, Permute(shape, order))


def _flips(shape: Shape) -> Iterator[Named]:
    kernel = tuple(axis for axis in _wide(shape) if axis >= 2)
    if len(kernel) > 1:
        words = "equals its source with its kernels turned by 180°"
        yield Named(Cause.KERNEL_ROTATED, words, Flip(shape, kernel))
    for axis in kernel:
        words = f"equals its source with its kernels mirrored along axis {axis}"
        yield Named(Cause.KERNEL_MIRRORED, words, Flip(shape, (axis,)))
    if len(shape) > 1 and shape[1] > 1:
        words = "equals its source with its input channels reversed (RGB ↔ BGR)"
        yield Named(Cause.CHANNELS_REVERSED, words, Flip(shape, (1,)))
    if shape and shape[0] > 2:
        words = "equals its source with its first axis reversed"
        yield Named(Cause.ROWS_PERMUTED, words, Flip(shape, (0,)))


def _rolls(shape: Shape) -> Iterator[Named]:
    for axis in _wide(shape):
        size = shape[axis]
        if size % 2 == 0:
            words = f"equals its source with the halves of axis {axis} swapped"
            yield Named(Cause.HALVES_SWAPPED, words, Roll(shape, axis, size // 2))
        for by in ROLLS:
            if abs(by) < size and by % size * 2 != size:
                words = f"equals its source shifted by {by} along axis {axis}"
                yield Named(Cause.SHIFTED, words, Roll(shape, axis, by))


def _orders(split: Shape) -> Iterator[Named]:
    """Yield the tensor's memory in other orders of axes, written that way and read that way."""
    for order in _reorderings(split):
        back = tuple(order.index(axis) for axis in range(len(order)))
        written = tuple(split[axis] for axis in order)
        flattened = order[0] == 0 and len(split) == 4 and order[1] != 1
        if flattened:
            letters = " ".join("ochw"[axis] for axis in order[1:])
            cause = Cause.CHANNEL_LAST_FLATTEN
            said = ("flattened", "read as if it had been flattened")
            words = [f"equals its source {how} in the order ({letters})" for how in said]
            if letters == "h w c":
                words = [text.replace("in the order", "channel-last") for text in words]
        else:
            cause = Cause.KERNEL_TRANSPOSED if _turns_kernel(order) else Cause.MEMORY_ORDER
            words = [
                f"holds its source's memory {how} with axes {list(order)}"
                for how in ("written", "read")
            ]
        yield Named(cause, words[0], Permute(split, order))
        yield Named(cause, words[1], Permute(written, back))


def _turns_kernel(order: tuple[int, ...]) -> bool:
    return len(order) == 4 and order == (0, 1, 3, 2)


def _square_maps(shape: Shape) -> Iterator[Shape]:
    """Yield `[out, c, k, k]` for the rows of a matrix that may be flattened maps."""
    if len(shape) != 2:
        return
    for size in KERNELS:
        if shape[1] % size**2 == 0 and shape[1] > size**2:
            yield shape[0], shape[1] // size**2, size, size


def splits_of(target: Shape, *others: Shape) -> tuple[Shape, ...]:
    """Return the other shapes of more axes that the same elements have."""
    return tuple(
        other for other in others if len(other) > len(target) and prod(other) == prod(target)
    )
