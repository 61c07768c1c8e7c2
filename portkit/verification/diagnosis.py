"""What went wrong with a tensor, in words with the evidence: a short list of usual causes."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.planning import Step

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Cause = Callable[["Array"], "Array | None"]
_MOST = 200_000_000  # elements; a larger tensor is not searched


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
    return want[:, ::-1] if want.ndim == 4 and want.shape[1] == 3 else None


def _zeros(want: "Array") -> "Array":
    return np.zeros_like(want)


def _ones(want: "Array") -> "Array":
    return np.ones_like(want)


def _shifted(want: "Array") -> "Array":
    return np.roll(want, 1, axis=0)


def _half(want: "Array") -> "Array | None":
    if want.dtype != np.float32:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return want.astype(np.float16).astype(np.float32)


CAUSES: tuple[tuple[str, Cause], ...] = (
    ("it is all zeros", _zeros),
    ("it is all ones", _ones),
    ("it equals the transpose of its source", _transposed),
    ("its kernels' height and width are swapped", _rows_and_columns),
    ("it equals its source flattened channel-last (h w c)", _channel_last),
    ("it equals its source read as channel-last (h w c)", _channel_last_read),
    ("its kernels are turned by 180°", _rotated),
    ("its input channels are reversed (RGB ↔ BGR)", _channels_reversed),
    ("its first axis is shifted by one", _shifted),
    ("it went through half precision", _half),
)


def explain_bits(step: Step, got: "Array", want: "Array", source: Reader) -> str:
    """Return the first cause that explains every element, with the count; empty where none does."""
    if got.size > _MOST or not step.sources:
        return ""
    for words, cause in CAUSES:
        made = cause(want)
        if made is not None and made.shape == got.shape and _same(got, made):
            return f"{words}, {got.size} of {got.size} elements"
    for name, other in _siblings(step, source):
        if _same(got, other.reshape(got.shape)):
            return f"it equals source {name}, {got.size} of {got.size} elements"
    return ""


def _same(one: "Array", other: "Array") -> bool:
    """Compare bits, the first few before all of them."""
    if one.size == 0:
        return False
    head = min(64, one.size)
    first = [np.ascontiguousarray(a.reshape(-1)[:head]).tobytes() for a in (one, other)]
    if first[0] != first[1]:
        return False
    width = f"u{one.dtype.itemsize}"
    bits = [np.ascontiguousarray(a).reshape(-1).view(width) for a in (one, other)]
    return bool(np.array_equal(bits[0], bits[1]))


def _siblings(step: Step, source: Reader) -> "Iterator[tuple[str, Array]]":
    own = {spec.name for spec in step.sources}
    for name, spec in source.specs.items():
        if name not in own and spec.size == step.target.size and spec.dtype is step.target.dtype:
            yield name, as_array(source.fetch(name), spec)
