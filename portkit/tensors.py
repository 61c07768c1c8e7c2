"""What a tensor is before its values are read: a name, a shape, a dtype, a place on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from pathlib import Path
from types import MappingProxyType

Shape = tuple[int, ...]


class DType(StrEnum):
    """Element types, spelt as the safetensors specification spells them."""

    BOOL = "BOOL"
    U8 = "U8"
    I8 = "I8"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"
    F8_E8M0 = "F8_E8M0"
    F8_E4M3FNUZ = "F8_E4M3FNUZ"
    F8_E5M2FNUZ = "F8_E5M2FNUZ"
    U16 = "U16"
    I16 = "I16"
    F16 = "F16"
    BF16 = "BF16"
    U32 = "U32"
    I32 = "I32"
    F32 = "F32"
    U64 = "U64"
    I64 = "I64"
    F64 = "F64"
    C64 = "C64"

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _ITEMSIZE[self]

    @property
    def is_float(self) -> bool:
        return self.value[0] in "FB" and self is not DType.BOOL

    @property
    def carrier(self) -> str:
        """The little-endian numpy dtype whose arrays carry these elements, bit for bit.

        numpy has no bfloat16 and no float8: those travel as unsigned integers of their size.
        """
        return _CARRIER[self]


_CARRIER: Mapping[DType, str] = MappingProxyType(
    {
        DType.BOOL: "|b1",
        DType.U8: "|u1",
        DType.I8: "|i1",
        DType.F8_E4M3: "|u1",
        DType.F8_E5M2: "|u1",
        DType.F8_E8M0: "|u1",
        DType.F8_E4M3FNUZ: "|u1",
        DType.F8_E5M2FNUZ: "|u1",
        DType.U16: "<u2",
        DType.I16: "<i2",
        DType.F16: "<f2",
        DType.BF16: "<u2",
        DType.U32: "<u4",
        DType.I32: "<i4",
        DType.F32: "<f4",
        DType.U64: "<u8",
        DType.I64: "<i8",
        DType.F64: "<f8",
        DType.C64: "<c8",
    }
)
_ITEMSIZE: Mapping[DType, int] = MappingProxyType(
    {dtype: int(carrier[2:]) for dtype, carrier in _CARRIER.items()}
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A header; never values.

    >>> print(TensorSpec("classifier.0.weight", (4096, 25088), DType.F32))
    classifier.0.weight F32[4096, 25088]
    """

    name: str
    shape: Shape
    dtype: DType

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def form(self) -> str:
        """Dtype and shape, as people read them: `F32[4096, 25088]`."""
        return f"{self.dtype}{list(self.shape)}"

    def __str__(self) -> str:
        return f"{self.name} {self.form}"


Specs = Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes on disk that hold one tensor: contiguous, row-major, little endian."""

    path: Path
    offset: int
    nbytes: int
