"""Every op a second time, by other means than the conversion's: einops, windows, plain indexing.

A bug in an op must not be able to vouch for itself, so nothing here calls `apply`. Only random
numbers have no second source: a `Fill` that draws is drawn again.
"""

import re
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from portkit.ops import (
    Cast,
    Concat,
    Fill,
    Flip,
    Pick,
    Rearrange,
    Slice,
    Split,
    Stack,
    Take,
    Unstack,
)
from portkit.ops.choosing import parse_slice
from portkit.ops.filling import CONSTANTS
from portkit.planning import Step
from portkit.tensors import DType

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

    Arrays = tuple[Array, ...]


def recompute(step: Step, arrays: "Arrays") -> "Array":
    """Return what a step makes of its sources, op by op."""
    for op in step.ops:
        arrays = AGAIN[type(op)](op, arrays)
    made: Array = np.ascontiguousarray(arrays[0]).reshape(step.target.shape)
    return made


def _rearrange(op: Rearrange, arrays: "Arrays") -> "Arrays":
    import einops

    # einops warns of axes called as Python's keywords, such as `in`
    pattern = re.sub(r"[^\W\d]\w*", r"axis_\g<0>", op.pattern)
    sizes = {f"axis_{axis}": int(size) for axis, size in op.sizes}
    return tuple(einops.rearrange(array, pattern, **sizes) for array in arrays)


def _windows(axis: int, sizes: tuple[Any, ...], rank: int) -> list[tuple[slice, ...]]:
    ends = [0, *accumulate(map(int, sizes))]
    whole = (slice(None),)
    return [(*whole * axis, slice(a, b), *whole * (rank - axis - 1)) for a, b in pairwise(ends)]


def _concat(op: Concat, arrays: "Arrays") -> "Arrays":
    axis, first = int(op.axis), arrays[0]
    shape = list(first.shape)
    shape[axis] = sum(map(int, op.sizes))
    joined = np.empty(shape, first.dtype)
    for window, array in zip(_windows(axis, op.sizes, first.ndim), arrays, strict=True):
        joined[window] = array
    return (joined,)


def _split(op: Split, arrays: "Arrays") -> "Arrays":
    (whole,) = arrays
    return tuple(whole[window] for window in _windows(int(op.axis), op.sizes, whole.ndim))


def _stack(op: Stack, arrays: "Arrays") -> "Arrays":
    stacked = np.empty((op.count, *arrays[0].shape), arrays[0].dtype)
    for place, array in enumerate(arrays):
        stacked[place] = array
    return (stacked,)


def _unstack(op: Unstack, arrays: "Arrays") -> "Arrays":
    return tuple(arrays[0][place] for place in range(op.count))


def _pick(op: Pick, arrays: "Arrays") -> "Arrays":
    return arrays[op.place : op.place + 1]


def _flip(op: Flip, arrays: "Arrays") -> "Arrays":
    for axis in op.over:
        arrays = tuple(a.take(range(a.shape[int(axis)])[::-1], int(axis)) for a in arrays)
    return arrays


def _take(op: Take, arrays: "Arrays") -> "Arrays":
    chosen: tuple[Any, ...] = (*(slice(None),) * int(op.axis), list(op.indices))
    return tuple(array[chosen] for array in arrays)


def _slice(op: Slice, arrays: "Arrays") -> "Arrays":
    for axis, text in op.ranges:
        chosen = parse_slice(text)
        arrays = tuple(a.take(range(a.shape[int(axis)])[chosen], int(axis)) for a in arrays)
    return arrays


def _cast(op: Cast, arrays: "Arrays") -> "Arrays":
    return tuple(_rounded(op.target, _exactly(op.source, array)) for array in arrays)


def _exactly(dtype: DType, array: "Array") -> "Array":
    """Return floats as float64, which holds every narrower one exactly."""
    if dtype is not DType.BF16:
        return array.astype(np.float64)
    sign = np.where(array >> 15, -1.0, 1.0)
    exponent, fraction = (array >> 7 & 0xFF).astype(np.int32), (array & 0x7F).astype(np.float64)
    normal = np.ldexp(1 + fraction / 128, exponent - 127)
    value = np.where(exponent == 0, np.ldexp(fraction / 128, -126), normal)
    special = np.where(fraction == 0, np.inf, np.nan)
    return np.asarray(sign * np.where(exponent == 0xFF, special, value))


def _rounded(dtype: DType, exact: "Array") -> "Array":
    """Round float64 values once, to nearest even, by arithmetic on their significands."""
    if dtype is not DType.BF16:
        with np.errstate(over="ignore"):
            return np.asarray(exact.astype(dtype.carrier))
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent - 8, -133))
    with np.errstate(invalid="ignore"):
        near = np.where(np.isfinite(exact), np.rint(exact / unit) * unit, exact)
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(near, np.float32).reshape(exact.shape).view(np.uint32)
    return np.asarray((bits >> np.uint32(16)).astype(np.uint16))


def _fill(op: Fill, arrays: "Arrays") -> "Arrays":
    if op.scheme not in CONSTANTS or op.spec is None or op.spec.dtype is DType.BF16:
        return op.apply(arrays)
    value = 1 if op.scheme == "ones" else 0
    filled = np.empty(op.spec.shape, op.spec.dtype.carrier)
    filled[...] = value
    return (filled,)


AGAIN: Mapping[type, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        Rearrange: _rearrange,
        Concat: _concat,
        Split: _split,
        Stack: _stack,
        Unstack: _unstack,
        Pick: _pick,
        Flip: _flip,
        Take: _take,
        Slice: _slice,
        Cast: _cast,
        Fill: _fill,
    }
)
