"""numpy's .npz: a zip of .npy files. Metadata goes into the zip's comment, which numpy ignores."""

import ast
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from portkit.errors import PortkitError, Problems
from portkit.formats.limits import brief, is_shape
from portkit.formats.protocols import Layout, Writer
from portkit.formats.zips import LONGEST_COMMENT, STORED, Archive, Entry, open_archive
from portkit.tensors import DType, Extent, Specs, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # bytes, as numpy has it
_LONGEST_NAME = 65_000  # bytes, and .npy after them
_SMALL = 64 << 20  # bytes that a compressed tensor may always unpack to
_RATIO = 100  # a larger one only if it is packed no tighter: weights pack little, bombs 1000:1
_CODES: Mapping[str, DType] = MappingProxyType(
    {
        "b1": DType.BOOL, "u1": DType.U8, "i1": DType.I8, "u2": DType.U16, "i2": DType.I16,
        "f2": DType.F16, "u4": DType.U32, "i4": DType.I32, "f4": DType.F32, "u8": DType.U64,
        "i8": DType.I64, "f8": DType.F64, "c8": DType.C64,
    }
)  # fmt: skip
_NAMES: Mapping[DType, str] = MappingProxyType({dtype: code for code, dtype in _CODES.items()})


@dataclass(frozen=True, slots=True)
class Npy:
    """One .npy inside the archive."""

    spec: TensorSpec
    entry: Entry
    head: int  # bytes before the data
    fortran: bool
    swapped: bool

    @property
    def plain(self) -> bool:
        return self.entry.method == STORED and not self.fortran and not self.swapped


@dataclass(frozen=True, slots=True)
class FileReader:
    """An open .npz."""

    archive: Archive
    metadata: Mapping[str, str]
    arrays: Mapping[str, Npy]
    specs: Specs
    ignored: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.archive.path

    def fetch(self, name: str) -> "Extent | Array":
        found = self.arrays[name]
        if found.plain:
            start = self.archive.start_of(found.entry) + found.head
            return Extent(self.path, start, found.spec.nbytes)
        return self._unpack(found)

    def _unpack(self, found: Npy) -> "Array":
        import numpy as np

        raw = memoryview(self.archive.read(found.entry, found.entry.size))[found.head :]
        order = ">" if found.swapped else "<"
        code = _NAMES[found.spec.dtype]
        flat = np.frombuffer(raw, code if code.endswith("1") else order + code)
        shaped = flat.reshape(found.spec.shape, order="F" if found.fortran else "C")
        return np.ascontiguousarray(shaped, found.spec.dtype.carrier).reshape(found.spec.shape)


@contextmanager
def open_reader(path: Path) -> Iterator[FileReader]:
    """Read every array's header; raise PortkitError with all that is wrong."""
    with open_archive(path) as archive:
        problems = Problems()
        arrays: dict[str, Npy] = {}
        for entry in archive.entries.values():
            with problems.collecting():
                found = _read_npy(archive, entry)
                if found.spec.name in arrays:
                    raise PortkitError.at(path, f"two arrays are called {found.spec.name!r}")
                arrays[found.spec.name] = found
        problems.raise_if_any()
        specs = MappingProxyType({name: npy.spec for name, npy in arrays.items()})
        yield FileReader(archive, _metadata(archive.comment), arrays, specs)


def _metadata(comment: bytes) -> Mapping[str, str]:
    try:
        found = json.loads(comment)
    except (ValueError, RecursionError):
        return {}
    return (
        found if isinstance(found, dict) and all(isinstance(v, str) for v in found.values()) else {}
    )


def _read_npy(archive: Archive, entry: Entry) -> Npy:
    where = f"{archive.path}: {entry.name}"
    if entry.size > max(_SMALL, entry.packed * _RATIO):
        fix = "save it uncompressed, with numpy.savez"
        raise PortkitError.at(where, f"claims {entry.size} bytes from {entry.packed}", fix)
    start = _start_of_npy(archive, entry)
    if start[:6] != _MAGIC or len(start) < 12 or start[6] not in (1, 2, 3):
        raise PortkitError.at(where, "is no .npy")
    wide = start[6] > 1
    length = struct.unpack_from("<I" if wide else "<H", start, 8)[0]
    head = (12 if wide else 10) + length
    if length > _LONGEST_HEADER or head > len(start):
        raise PortkitError.at(where, f"its header claims {length} bytes")
    shape, code, fortran = _header(start[head - length : head], where)
    if code[1:] not in _CODES or code[0] not in "<>|=":
        fix = "save it as a plain number type" if "O" not in code else "save it without objects"
        raise PortkitError.at(where, f"dtype {brief(code)} is not read", fix)
    spec = TensorSpec(entry.name.removesuffix(".npy"), shape, _CODES[code[1:]])
    if head + spec.nbytes != entry.size:
        what = f"{spec.form} takes {spec.nbytes} bytes, {entry.size - head} are there"
        raise PortkitError.at(where, what)
    return Npy(spec, entry, head, fortran and len(shape) > 1, code[0] == ">")


def _start_of_npy(archive: Archive, entry: Entry) -> bytes:
    most = 12 + _LONGEST_HEADER
    raw = os.pread(archive.file, min(entry.packed, most), archive.start_of(entry))
    if entry.method == STORED:
        return raw
    import zlib

    try:
        return zlib.decompressobj(-15).decompress(raw, most)
    except zlib.error as error:
        what = f"its packed data is broken: {error}"
        raise PortkitError.at(f"{archive.path}: {entry.name}", what) from None


def _header(raw: bytes, where: str) -> tuple[tuple[int, ...], str, bool]:
    try:
        found: Any = ast.literal_eval(raw.decode("latin-1").strip())
        shape, code, fortran = found["shape"], found["descr"], found["fortran_order"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise PortkitError.at(where, "its header cannot be read") from None
    if not isinstance(shape, tuple) or not is_shape(shape):
        raise PortkitError.at(where, f"its shape is {brief(shape)}")
    if not isinstance(code, str) or len(code) < 2 or not isinstance(fortran, bool):
        fix = "save it as a plain number type"
        raise PortkitError.at(where, f"dtype {brief(code)} is not read", fix)
    return shape, code if code[0] in "<>|=" else f"|{code}", fortran


@contextmanager
def open_writer(path: Path, layout: Layout) -> Iterator[Writer]:
    """Write an archive that numpy.load reads, nothing compressed."""
    from portkit.formats.zipping import ZipLayout, open_zip

    problems = Problems()
    for spec in layout.specs:
        if len(spec.name.encode()) > _LONGEST_NAME:
            what = f"is a name of {len(spec.name)} characters, which no zip holds"
            problems.add(f"{spec.name[:40]}...", what, "rename it")
        if spec.dtype not in _NAMES:
            problems.add(spec.name, f"numpy has no {spec.dtype}", "write .safetensors or .pth")
    text = json.dumps(dict(layout.metadata), separators=(",", ":"))
    if len(text) > LONGEST_COMMENT:
        what = f"holds {LONGEST_COMMENT} bytes of metadata, {len(text)} are given"
        problems.add(".npz", what, "write .safetensors or .pth")
    problems.raise_if_any()
    zipped = ZipLayout(
        specs=layout.specs,
        names={spec.name: f"{spec.name}.npy" for spec in layout.specs},
        first={},
        last={},
        align=64,
        heads={spec.name: _npy_head(spec) for spec in layout.specs},
        comment=text.encode() if layout.metadata else b"",
    )
    with open_zip(path, zipped) as writer:
        yield writer


def _npy_head(spec: TensorSpec) -> bytes:
    code = spec.dtype.carrier
    shape = f"({', '.join(map(str, spec.shape))}{',' if len(spec.shape) == 1 else ''})"
    text = f"{{'descr': '{code}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return _MAGIC + b"\1\0" + struct.pack("<H", len(text)) + text.encode()
