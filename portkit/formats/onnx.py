"""ONNX initialisers, inline and external, found by walking the protobuf: nothing is copied.

Field numbers are those of onnx.proto3 (IR version 13). The onnx library would parse, and so copy,
the whole model before its first shape is known.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from portkit.errors import PortkitError, Problems
from portkit.formats.limits import brief, is_shape
from portkit.tensors import DType, Extent, Specs, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_GRAPH, _METADATA_PROPS, _INITIALIZER = 7, 14, 5
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14
_FLOATS, _INTS32, _INTS64, _DOUBLES, _UINTS64 = 4, 5, 7, 10, 11
_SPARSE_INITIALIZER = 15
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES: Mapping[int, DType] = MappingProxyType(
    {
        1: DType.F32, 2: DType.U8, 3: DType.I8, 4: DType.U16, 5: DType.I16, 6: DType.I32,
        7: DType.I64, 9: DType.BOOL, 10: DType.F16, 11: DType.F64, 12: DType.U32,
        13: DType.U64, 14: DType.C64, 16: DType.BF16, 17: DType.F8_E4M3,
        18: DType.F8_E4M3FNUZ, 19: DType.F8_E5M2, 20: DType.F8_E5M2FNUZ, 24: DType.F8_E8M0,
    }
)  # fmt: skip
# The fields of those types whose elements are not in int32_data.
_HOMES: Mapping[DType, int] = MappingProxyType(
    {
        DType.F32: _FLOATS, DType.C64: _FLOATS, DType.F64: _DOUBLES, DType.I64: _INTS64,
        DType.U32: _UINTS64, DType.U64: _UINTS64,
    }
)  # fmt: skip
Span = tuple[int, int]


@dataclass(slots=True)
class _Tensor:
    """One TensorProto as it is met, field by field."""

    dims: list[int] = field(default_factory=list)
    code: int = 0
    name: str = ""
    raw: Span | None = None
    typed: list[tuple[int, int, Span]] = field(default_factory=list)  # field, wire type, where
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False


@dataclass(frozen=True, slots=True)
class FileReader:
    """An open model's initialisers."""

    path: Path
    specs: Specs
    metadata: Mapping[str, str]
    places: "Mapping[str, Extent | _Tensor]"
    ignored: tuple[str, ...] = ()

    def fetch(self, name: str) -> "Extent | Array":
        place = self.places[name]
        return place if isinstance(place, Extent) else _decode(place, self.specs[name], self.path)


@contextmanager
def open_reader(path: Path) -> Iterator[FileReader]:
    """Find every initialiser; raise PortkitError with all that is wrong."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise PortkitError.at(path, "is empty")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            reader = _read(path, data)
    yield reader


def _read(path: Path, data: mmap) -> FileReader:
    metadata: dict[str, str] = {}
    graphs: list[Span] = []
    try:
        for number, wire, span in _fields(data, (0, len(data))):
            if number == _GRAPH and wire == _BYTES:
                graphs.append(span)
            elif number == _METADATA_PROPS and wire == _BYTES:
                key, value = _pair(data, span)
                metadata[key] = value
        if not graphs:
            raise PortkitError.at(path, "is no ONNX model: it has no graph")
        tensors = [tensor for span in graphs for tensor in _initializers(data, span, path)]
    except (ValueError, IndexError):
        raise PortkitError.at(path, "is no ONNX model: its protobuf is broken") from None
    problems = Problems()
    specs: dict[str, TensorSpec] = {}
    places: dict[str, Extent | _Tensor] = {}
    for tensor in tensors:
        with problems.collecting():
            spec = _spec(tensor, path)
            if spec.name in specs:
                raise PortkitError.at(path, f"two initialisers are called {spec.name!r}")
            places[spec.name] = _place(tensor, spec, path)
            specs[spec.name] = spec
    problems.raise_if_any()
    return FileReader(path, MappingProxyType(specs), metadata, MappingProxyType(places))


def _initializers(data: mmap, graph: Span, path: Path) -> Iterator[_Tensor]:
    for number, wire, span in _fields(data, graph):
        if number == _SPARSE_INITIALIZER:
            raise PortkitError.at(path, "holds sparse initialisers, which are not read")
        if number == _INITIALIZER and wire == _BYTES:
            yield _tensor(data, span)


def _fields(data: mmap, span: Span) -> Iterator[tuple[int, int, Span]]:
    """Yield each field's number, wire type, and where its payload lies (a varint's own bytes)."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError(key)
        if wire == _VARINT:
            start = at
            _, at = _varint(data, at, end)
            yield number, wire, (start, at)
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(wire)
        if at + length > end:
            raise ValueError(length)
        yield number, wire, (at, at + length)
        at += length


def _varint(data: mmap | bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise ValueError(at)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _varints(data: mmap | bytes, span: Span) -> list[int]:
    at, end = span
    values = []
    while at < end:
        value, at = _varint(data, at, end)
        values.append(_signed(value))
    return values


def _tensor(data: mmap, span: Span) -> _Tensor:
    tensor = _Tensor()
    for number, wire, place in _fields(data, span):
        match number:
            case n if n == _DIMS:
                tensor.dims += _varints(data, place)
            case n if n == _TYPE:
                tensor.code = _varints(data, place)[0]
            case n if n == _NAME:
                tensor.name = data[place[0] : place[1]].decode()
            case n if n == _RAW:
                tensor.raw = place
            case n if n == _EXTERNAL:
                key, value = _pair(data, place)
                tensor.external[key] = value
            case n if n == _LOCATION:
                tensor.is_external = _varints(data, place)[0] == 1
            case n if n in (_FLOATS, _INTS32, _INTS64, _DOUBLES, _UINTS64):
                tensor.typed.append((number, wire, place))
    return tensor


def _pair(data: mmap, span: Span) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, _, (begin, end) in _fields(data, span):
        if number in texts:
            texts[number] = data[begin:end].decode()
    return texts[1], texts[2]


def _spec(tensor: _Tensor, path: Path) -> TensorSpec:
    where = f"{path}: {tensor.name}"
    if tensor.code not in _DTYPES:
        raise PortkitError.at(where, f"ONNX data type {tensor.code} is not read")
    if not is_shape(tensor.dims):
        raise PortkitError.at(where, f"its shape is {brief(tensor.dims)}")
    if not tensor.name:
        raise PortkitError.at(path, "holds an initialiser without a name")
    return TensorSpec(tensor.name, tuple(tensor.dims), _DTYPES[tensor.code])


def _place(tensor: _Tensor, spec: TensorSpec, path: Path) -> "Extent | _Tensor":
    if tensor.is_external:
        return _external(tensor.external, spec, path)
    if tensor.raw is None:
        if spec.size and not tensor.typed:
            raise PortkitError.at(f"{path}: {spec.name}", f"{spec.form} has no data")
        return tensor
    begin, end = tensor.raw
    if end - begin != spec.nbytes:
        what = f"{spec.form} takes {spec.nbytes} bytes, {end - begin} are there"
        raise PortkitError.at(f"{path}: {spec.name}", what)
    return Extent(path, begin, end - begin)


def _external(said: Mapping[str, str], spec: TensorSpec, path: Path) -> Extent:
    where = f"{path}: {spec.name}"
    location = said.get("location", "")
    parts = PurePosixPath(location.replace("\\", "/"))
    if not location or parts.is_absolute() or ".." in parts.parts or location[1:2] == ":":
        raise PortkitError.at(where, f"its data lies outside the model's folder: {location!r}")
    file = path.parent / parts
    if not file.is_file():
        raise PortkitError.at(where, f"its data file {location!r} is not there")
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise PortkitError.at(where, f"its data lies outside the model's folder: {location!r}")
    try:
        offset = int(said.get("offset", "0"))
        length = int(said.get("length", str(spec.nbytes)))
    except ValueError:
        raise PortkitError.at(where, f"its place in {location!r} is no number") from None
    room = file.stat().st_size
    if length != spec.nbytes or offset < 0 or offset + length > room:
        said_so = f"{location!r} of {room} bytes has {length} at {offset}"
        what = f"{spec.form} takes {spec.nbytes} bytes, {said_so}"
        raise PortkitError.at(where, what)
    return Extent(file, offset, length)


def _decode(tensor: _Tensor, spec: TensorSpec, path: Path) -> "Array":
    """Turn typed fields (not raw_data) into an array."""
    import numpy as np

    where = f"{path}: {spec.name}"
    fields = {number for number, _, _ in tensor.typed}
    if fields - {_HOMES.get(spec.dtype, _INTS32)}:
        raise PortkitError.at(where, f"{spec.form} lies in a field for other types")
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            pieces = [_piece(data, number, span, spec) for number, _, span in tensor.typed]
    except ValueError:
        raise PortkitError.at(where, f"{spec.form} has broken data") from None
    flat = np.concatenate(pieces) if pieces else np.empty(0, spec.dtype.carrier)
    if flat.nbytes != spec.nbytes:
        what = f"{spec.form} takes {spec.nbytes} bytes, {flat.nbytes} are there"
        raise PortkitError.at(where, what)
    made: Array = flat.view(spec.dtype.carrier).reshape(spec.shape)
    return made


def _piece(data: mmap, number: int, span: Span, spec: TensorSpec) -> "Array":
    """Return one run of elements; 16-bit and 8-bit floats travel as their bits."""
    import numpy as np

    if number in (_FLOATS, _DOUBLES):
        floats: Array = np.frombuffer(data[slice(*span)], "<f4" if number == _FLOATS else "<f8")
        return floats
    values = np.array(_varints(data, span), np.int64)
    if spec.dtype is DType.BOOL:
        values = (values != 0).astype(np.int64)
    bits: Array = values.view(np.uint64).astype(f"<u{spec.dtype.itemsize}")
    return bits
