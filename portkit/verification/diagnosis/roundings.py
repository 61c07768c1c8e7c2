"""Roundings that weights go through on their way: each a function of the exact values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portkit.verification.causes import Cause

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

DIGITS = range(3, 9)  # of decimal text


@dataclass(frozen=True, slots=True)
class Rounding:
    """How values are rounded, and how far arithmetic may be off from doing it again."""

    cause: Cause
    words: str
    apply: Callable[["Array"], "Array"]
    slack: float = 0.0  # of the largest value, or of each where they are text
    by_row: bool = False

    @property
    def is_text(self) -> bool:
        return self.cause == Cause.FEW_DIGITS


def to_half(values: "Array") -> "Array":
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(values.dtype)


def to_mantissa(bits: int, *, nearest: bool) -> "Callable[[Array], Array]":
    """Return a function that keeps so many bits of float32 mantissas, nearest even or cut."""
    lost = np.uint32(23 - bits)
    mask = np.uint32((0xFFFFFFFF << int(lost)) & 0xFFFFFFFF)

    def rounded(values: "Array") -> "Array":
        word = np.ascontiguousarray(values, np.float32).view(np.uint32)
        if nearest:
            half = np.uint32((1 << (int(lost) - 1)) - 1)
            word = word + half + ((word >> lost) & np.uint32(1))
        return (word & mask).view(np.float32).astype(values.dtype).reshape(values.shape)

    return rounded


def to_digits(digits: int) -> "Callable[[Array], Array]":
    """Return a function that keeps so many significant decimal digits."""

    def rounded(values: "Array") -> "Array":
        wide = values.astype(np.float64)
        size = np.abs(np.where(wide == 0, 1.0, wide))
        unit = 10.0 ** (digits - 1 - np.floor(np.log10(size)))
        return np.asarray((np.rint(wide * unit) / unit).astype(values.dtype))

    return rounded


def to_decimals(places: int) -> "Callable[[Array], Array]":
    def rounded(values: "Array") -> "Array":
        return np.asarray(np.round(values.astype(np.float64), places).astype(values.dtype))

    return rounded


def to_int8(unit: float, zero: float = 0.0, low: int = -128) -> "Callable[[Array], Array]":
    """Return a function that quantises to 8 bits and back."""

    def rounded(values: "Array") -> "Array":
        level = np.clip(np.rint(values.astype(np.float64) / unit) + zero, low, low + 255)
        return np.asarray(((level - zero) * unit).astype(values.dtype))

    return rounded


FLOATS = (
    Rounding(Cause.HALF, "equals its source rounded to half precision", to_half),
    Rounding(Cause.BFLOAT16, "equals its source rounded to bfloat16", to_mantissa(7, nearest=True)),
    Rounding(Cause.BFLOAT16, "equals its source cut to bfloat16", to_mantissa(7, nearest=False)),
    Rounding(Cause.TF32, "equals its source rounded to TF32", to_mantissa(10, nearest=True)),
    Rounding(Cause.TF32, "equals its source cut to TF32", to_mantissa(10, nearest=False)),
)
REDUCED: Mapping[str, Callable[["Array"], "Array"]] = MappingProxyType(
    {
        "TF32": to_mantissa(10, nearest=True),
        "half precision": to_half,
        "bfloat16": to_mantissa(7, nearest=True),
    }
)


def usual_roundings(values: "Array") -> tuple[Rounding, ...]:
    """Return the roundings that these values may have gone through; all of them finite."""
    texts = tuple(
        Rounding(
            Cause.FEW_DIGITS,
            f"equals its source written with {count} {kind}",
            make(count),
            slack=1.5 * float(np.finfo(values.dtype).eps),
        )
        for count in DIGITS
        for kind, make in (("significant digits", to_digits), ("decimals", to_decimals))
    )
    return (*FLOATS, *_quantisations(values), *texts)


def _quantisations(values: "Array") -> tuple[Rounding, ...]:
    largest = float(np.abs(values).max())
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if not largest or high == low:
        return ()
    step = (high - low) / 255
    kinds = (
        ("symmetric, largest value 127", to_int8(largest / 127)),
        ("symmetric, largest value 128", to_int8(largest / 128)),
        ("asymmetric", to_int8(step, float(np.rint(-low / step)), 0)),
    )
    words = "equals its source rounded to 8-bit integers"
    made = [Rounding(Cause.INT8, f"{words} ({how})", apply, 1e-6) for how, apply in kinds]
    if values.ndim > 1:
        made.append(
            Rounding(Cause.INT8, f"{words} (per output channel)", _per_row, 1e-6, by_row=True)
        )
    return tuple(made)


def _per_row(values: "Array") -> "Array":
    rest = tuple(range(1, values.ndim))
    largest = np.abs(values).max(axis=rest, keepdims=True)
    unit = np.where(largest == 0, 1.0, largest / 127)
    return np.asarray((np.rint(values / unit) * unit).astype(values.dtype))
