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

from portkit.errors import PortkitError
from portkit.ops import (
    BlockDiagonal,
    Cast,
    Concat,
    DiagonalBlocks,
    Fill,
    Flip,
    OpError,
    Pad,
    Pick,
    Rearrange,
    Slice,
    Split,
    Stack,
    Take,
    Unpad,
    Unstack,
)
from portkit.ops.choosing import parse_slice
from portkit.ops.filling import CONSTANTS
from portkit.planning import Step
from portkit.tensors import DType
from portkit.verification.arithmetic import COMPUTED

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

    Arrays = tuple[Array, ...]


def recompute(step: Step, arrays: "Arrays") -> "Array":
    """Return what a step makes of its sources, op by op; raise PortkitError where it cannot."""
    try:
        for op in step.ops:
            arrays = AGAIN[type(op)](op, arrays)
    except OpError as error:
        raise PortkitError.at(step.where, f"{step.target.name}: {error}") from None
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
    if op.scheme not in CONSTANTS or op.spec is None:
        return op.apply(arrays)
    value = np.full(op.spec.shape, 1.0 if op.scheme == "ones" else 0.0)
    narrow = op.spec.dtype is DType.BF16
    return (_rounded(DType.BF16, value) if narrow else value.astype(op.spec.dtype.carrier),)


def _pad(op: Pad, arrays: "Arrays") -> "Arrays":
    return tuple(_framed(op, array) for array in arrays)


def _framed(op: Pad, array: "Array") -> "Array":
    for axis, before, after in op.widths:
        shape = list(array.shape)
        shape[int(axis)] += before + after
        wide = np.zeros(shape, array.dtype)
        wide[_windows(int(axis), (before, array.shape[int(axis)], after), array.ndim)[1]] = array
        array = wide
    return array


def _unpad(op: Unpad, arrays: "Arrays") -> "Arrays":
    return tuple(_unframed(op, array) for array in arrays)


def _unframed(op: Unpad, array: "Array") -> "Array":
    for axis, before, after in op.widths:
        sizes = (before, array.shape[int(axis)] - before - after, after)
        rim, array, other = (array[w] for w in _windows(int(axis), sizes, array.ndim))
        _refuse_loss(op, rim, other)
    return array


def _refuse_loss(op: Unpad | DiagonalBlocks, *left_out: "Array") -> None:
    if any(any(array.tobytes()) for array in left_out):
        raise OpError(f"{op} leaves values out that are not zero")


def _block_diagonal(op: BlockDiagonal, arrays: "Arrays") -> "Arrays":
    groups = int(op.groups)
    spread = []
    for array in arrays:
        bands = array.reshape(groups, -1, *array.shape[1:])
        dense = np.zeros((groups, bands.shape[1], groups, *array.shape[1:]), array.dtype)
        each = np.arange(groups)
        dense[each, :, each] = bands
        spread.append(dense.reshape(array.shape[0], -1, *array.shape[2:]))
    return tuple(spread)


def _diagonal_blocks(op: DiagonalBlocks, arrays: "Arrays") -> "Arrays":
    groups = int(op.groups)
    gathered = []
    for array in arrays:
        rows, columns = (length // groups for length in array.shape[:2])
        blocks = array.reshape(groups, rows, groups, columns, *array.shape[2:])
        each = np.arange(groups)
        beside = blocks.copy()
        beside[each, :, each] = 0
        _refuse_loss(op, beside)
        gathered.append(blocks[each, :, each].reshape(array.shape[0], columns, *array.shape[2:]))
    return tuple(gathered)


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
        Pad: _pad,
        Unpad: _unpad,
        BlockDiagonal: _block_diagonal,
        DiagonalBlocks: _diagonal_blocks,
        **COMPUTED,
    }
)
