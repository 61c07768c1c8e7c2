"""Changing the precision of floats, which never happens unless a mapping says so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError
from portkit.tensors import DType

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_BITS: Mapping[DType, int] = MappingProxyType(
    {DType.BF16: 8, DType.F16: 11, DType.F32: 24, DType.F64: 53}
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Round to another float type, to nearest even (IEEE 754); one direction at a time."""

    source: DType
    target: DType

    @property
    def kind(self) -> Kind:
        return Kind.LOSSY if _BITS[self.target] < _BITS[self.source] else Kind.COMPUTED

    def __str__(self) -> str:
        return f"cast {self.source} to {self.target}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Cast, Frame]":
        del symbols
        wrong = [dtype for dtype in frame.dtypes if dtype is not self.source]
        if wrong:
            raise OpError(f"{self} found {wrong[0]}")
        return self, replace(frame, dtypes=(self.target,) * len(frame.dtypes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(_round_to(self.target, _widen(self.source, array)) for array in arrays)

    def inverse(self) -> None:
        return None


def parse_cast(source: str, target: str) -> Cast:
    """Read a cast between two of BF16, F16, F32, F64; raise OpError."""
    for text in (source, target):
        if text not in _BITS:
            raise OpError(f"cast knows {', '.join(_BITS)}, found {text!r}")
    pair = DType(source), DType(target)
    if pair[0] is pair[1]:
        raise OpError(f"cast from {source} to itself does nothing")
    if pair == (DType.F64, DType.BF16):
        raise OpError("cast from F64 to BF16 would round twice: cast to F32 first, and say so")
    return Cast(*pair)


def _widen(dtype: DType, array: "Array") -> "Array":
    if dtype is not DType.BF16:
        return array
    import numpy as np

    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _round_to(dtype: DType, array: "Array") -> "Array":
    import numpy as np

    if dtype is not DType.BF16:
        with np.errstate(over="ignore"):
            return array.astype(dtype.carrier)
    single = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    bits = single.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    quiet = bits | np.uint32(0x0040_0000)  # rounding must not turn a NaN into an infinity
    return (np.where(np.isnan(single), quiet, rounded) >> np.uint32(16)).astype(np.uint16)
