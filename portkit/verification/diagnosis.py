"""What went wrong with a tensor, in words with the evidence: a short list of usual causes."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.planning import Step
from portkit.tensors import DType
from portkit.verification.recomputing import recompute

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Cause = Callable[["Array"], "Array | None"]
_HEAD = 4096  # elements compared before the whole tensor is


def explain_bits(step: Step, got: "Array", want: "Array", source: Reader) -> str:
    """Return the first cause that explains every element, with the count; empty where none does."""
    if got.size == 0:
        return ""
    every = f"{got.size} of {got.size} elements"
    for words, cause in CAUSES.items():
        made = cause(want)
        if made is not None and made.shape == got.shape and _same(got, made):
            return f"{words}, {every}"
    for name, other in _siblings(step, source):
        if _same(got, other):
            return f"it equals source {name}, {every}"
    return _single_bit(got, want) or _scaled(got, want, step)


def _transposed(want: "Array") -> "Array | None":
    square = want.ndim >= 2 and want.shape[0] == want.shape[1]
    return np.swapaxes(want, 0, 1) if square else None


def _rows_and_columns(want: "Array") -> "Array | None":
    square = want.ndim == 4 and want.shape[2] == want.shape[3] > 1
    return np.swapaxes(want, 2, 3) if square else None


def _channel_last(want: "Array") -> "Array | None":
    """Read the bytes of `[out, c, h, w]` as if they had been flattened (h w c)."""
    if want.ndim != 4 or want.shape[2] * want.shape[3] == 1:
        return None
    return want.transpose(0, 2, 3, 1).reshape(want.shape)


def _channel_last_read(want: "Array") -> "Array | None":
    """Read a channel-last row `(h w c)` as `[c, h, w]`."""
    if want.ndim != 4 or want.shape[2] * want.shape[3] == 1:
        return None
    out, channels, height, width = want.shape
    return want.reshape(out, height, width, channels).transpose(0, 3, 1, 2)


def _rotated(want: "Array") -> "Array | None":
    return want[..., ::-1, ::-1] if want.ndim == 4 and want.shape[-1] > 1 else None


def _channels_reversed(want: "Array") -> "Array | None":
    return want[:, ::-1] if want.ndim == 4 and want.shape[1] > 1 else None


def _shifted(want: "Array") -> "Array | None":
    return np.roll(want, 1, axis=0) if want.ndim and want.shape[0] > 1 else None


def _halves_swapped(want: "Array") -> "Array | None":
    even = want.ndim and want.shape[0] > 1 and want.shape[0] % 2 == 0
    return np.roll(want, want.shape[0] // 2, axis=0) if even else None


def _negated(want: "Array") -> "Array | None":
    return -want if want.dtype.kind == "f" else None


def _half(want: "Array") -> "Array | None":
    if want.dtype != np.float32:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return want.astype(np.float16).astype(np.float32)


def _brain(want: "Array") -> "Array | None":
    """Round to bfloat16, to nearest even."""
    if want.dtype != np.float32:
        return None
    bits = np.ascontiguousarray(want).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _cut_to_brain(want: "Array") -> "Array | None":
    if want.dtype != np.float32:
        return None
    bits = np.ascontiguousarray(want).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        "it is all zeros": np.zeros_like,
        "it is all ones": np.ones_like,
        "it equals the transpose of its source": _transposed,
        "its kernels' height and width are swapped": _rows_and_columns,
        "it equals its source flattened channel-last (h w c)": _channel_last,
        "it equals its source read as channel-last (h w c)": _channel_last_read,
        "its kernels are turned by 180°": _rotated,
        "its input channels are reversed (RGB ↔ BGR)": _channels_reversed,
        "its first axis is shifted by one": _shifted,
        "the halves of its first axis are swapped": _halves_swapped,
        "its sign is turned": _negated,
        "it went through half precision": _half,
        "it went through bfloat16": _brain,
        "it was cut to bfloat16": _cut_to_brain,
    }
)


def _same(one: "Array", other: "Array") -> bool:
    """Compare bits, some of the first before all of them; other arrays need not lie in a row."""
    first = [np.array(array.flat[:_HEAD]).tobytes() for array in (one, other)]
    if first[0] != first[1]:
        return False
    width = f"u{one.dtype.itemsize}"
    bits = [np.ascontiguousarray(array).reshape(-1).view(width) for array in (one, other)]
    return bool(np.array_equal(bits[0], bits[1]))


def _siblings(step: Step, source: Reader) -> "Iterator[tuple[str, Array]]":
    """Yield what the step would make of every other source tensor of the same form."""
    if len(step.sources) != 1:
        return
    own = step.sources[0]
    for name, spec in source.specs.items():
        if name != own.name and (spec.shape, spec.dtype) == (own.shape, own.dtype):
            yield name, recompute(step, (as_array(source.fetch(name), spec),))


def _single_bit(got: "Array", want: "Array") -> str:
    """Say so where exactly one bit of one element is turned."""
    width = f"u{got.dtype.itemsize}"
    ours, theirs = (np.ascontiguousarray(array).reshape(-1).view(width) for array in (got, want))
    wrong = np.flatnonzero(ours != theirs)
    if len(wrong) != 1:
        return ""
    turned = int(ours[wrong[0]]) ^ int(theirs[wrong[0]])
    return f"bit {turned.bit_length() - 1} of it is turned" if turned.bit_count() == 1 else ""


def _scaled(got: "Array", want: "Array", step: Step) -> str:
    """Say so where every element is the same multiple of what it should be."""
    if step.target.dtype not in (DType.F32, DType.F64):
        return ""
    ours, theirs = (np.ascontiguousarray(a).reshape(-1).astype(np.float64) for a in (got, want))
    where = theirs != 0
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all() or not where.any():
        return ""
    factor = float(np.median(ours[where] / theirs[where]))
    off = np.abs(ours - factor * theirs).max()
    close = bool(off <= 1e-6 * np.abs(theirs).max()) and abs(factor - 1) > 1e-6
    return f"it is its source times {factor:.6g}, {got.size} of {got.size} elements" * close
