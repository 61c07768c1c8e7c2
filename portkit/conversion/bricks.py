"""Permuting large tensors at the speed of memory: bricks that fit the cache, reused buffers.

A transpose that walks one side in strides touches a new cache line for every element. So a brick, a
few dozen entries along the innermost axis of either side, is gathered row by row, turned around
inside the cache and laid into a slab of the output. Only a few slabs of some megabytes, reused from
first to last, are ever held beside the mapped source; numpy lets go of the interpreter while it
copies, so the next slab is filled while one is written.
"""

from collections.abc import Iterator
from itertools import cycle
from math import prod
from typing import TYPE_CHECKING

from portkit.ops.rearranging import Permutation

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

SLAB = 8 << 20  # bytes of output filled at once
AHEAD = 1  # slabs in the making while one is written: more only contend for the cores
_BRICK = 256 << 10  # bytes that stay in a core's own cache
_EDGES = (16, 128)  # fewest and most entries of a brick along either innermost axis
_FEWEST_ROWS = 64  # of a slab, so that gathering reads whole cache lines


def permuted_slabs(source: "Array", permutation: Permutation) -> "Iterator[Array]":
    """Yield the permuted tensor's elements in a row, as slabs of reused buffers.

    Each slab is valid until the next is asked for.
    """
    split, order = permutation
    view = source.reshape(split).transpose(order)
    row = prod(view.shape[1:]) * source.itemsize
    rows = max(_FEWEST_ROWS, SLAB // max(1, row))
    parts = [view[start : start + rows] for start in range(0, view.shape[0], rows)]
    return _fill_ahead(parts) if len(parts) > 1 else _fill_in_turn(parts)


def _fill_in_turn(parts: "list[Array]") -> "Iterator[Array]":
    for part in parts:
        yield _filled(_buffer_for(part), part)


def _fill_ahead(parts: "list[Array]") -> "Iterator[Array]":
    """Keep AHEAD slabs in the making while one is being used."""
    from concurrent.futures import Future, ThreadPoolExecutor

    buffers = cycle([_buffer_for(parts[0]) for _ in range(AHEAD + 1)])
    making: list[Future[Array]] = []
    with ThreadPoolExecutor(AHEAD) as pool:
        for part in parts:
            making.append(pool.submit(_filled, next(buffers)[: len(part)], part))
            if len(making) > AHEAD:
                yield making.pop(0).result()
        for made in making:
            yield made.result()


def _buffer_for(part: "Array") -> "Array":
    import numpy as np

    return np.empty(part.shape, part.dtype)


def _filled(slab: "Array", view: "Array") -> "Array":
    """Copy a transposed view into a contiguous slab, brick by brick."""
    by_stride = sorted(range(view.ndim), key=lambda axis: -abs(view.strides[axis]))
    inner, last = by_stride[-1], view.ndim - 1
    if inner == last:
        slab[...] = view
        return slab
    back = tuple(by_stride.index(axis) for axis in range(view.ndim))
    for brick in _bricks(view, inner, last):
        slab[brick] = view[brick].transpose(by_stride).copy().transpose(back)
    return slab


def _bricks(view: "Array", inner: int, last: int) -> Iterator[tuple[slice, ...]]:
    """Cut along the source's innermost axis and the output's, or a longer one where that is short.

    The other axes stay whole, so that a kernel's few pixels always travel together.
    """
    lengths = {axis: n for axis, n in enumerate(view.shape) if axis != inner}
    second = last if lengths[last] >= _EDGES[1] else max(lengths, key=lengths.__getitem__)
    rest = prod(n for axis, n in lengths.items() if axis != second)
    long = min(_EDGES[1], view.shape[inner])
    room = _BRICK // (view.itemsize * max(1, rest * long))
    short = min(max(room, _EDGES[0]), _EDGES[1])
    whole = [slice(None)] * view.ndim
    for i in range(0, view.shape[inner], long):
        for j in range(0, view.shape[second], short):
            brick = list(whole)
            brick[inner], brick[second] = slice(i, i + long), slice(j, j + short)
            yield tuple(brick)
