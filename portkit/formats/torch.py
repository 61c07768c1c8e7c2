"""torch.save's files: the zip of today and the legacy run of pickles, read without torch."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError
from portkit.formats.pickles import STORAGES, TORCH_DTYPES, Placed, flatten, load_table, place
from portkit.formats.protocols import Layout, Writer
from portkit.formats.zips import Archive, open_archive
from portkit.tensors import Extent, Specs, TensorSpec

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # that magic, pickled by protocol 2
_LEGACY_PROTOCOL = 1001
_MOST_PICKLE = 256 << 20  # bytes
_METADATA = "portkit.json"
_ALIGN = 64


@dataclass(frozen=True, slots=True)
class FileReader:
    """A torch file's tensors under dotted names; `ignored` are values that are no tensors."""

    path: Path
    specs: Specs
    metadata: Mapping[str, str]
    extents: Mapping[str, Extent]
    ignored: tuple[str, ...] = ()

    def fetch(self, name: str) -> Extent:
        return self.extents[name]


@contextmanager
def open_reader(path: Path) -> Iterator[FileReader]:
    """Read a file's tensor table; raise PortkitError with all that is wrong with it."""
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] == b"PK\3\4":
        with open_archive(path) as archive:
            yield _read_zip(archive)
    elif start.startswith(LEGACY_START):
        yield _read_legacy(path)
    else:
        fix = "load it with the torch that wrote it and save it again with torch.save"
        what = "is a tar of before PyTorch 0.1.10" if _is_tar(path) else "is no torch.save file"
        raise PortkitError.at(path, what, fix)


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(265)[257:262] == b"ustar"


def _read_zip(archive: Archive) -> FileReader:
    path, entries = archive.path, archive.entries
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    root = roots[0] if len(roots) == 1 else ""
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in entries):
        fix = "load it with torch.jit.load and save its state dict with torch.save"
        raise PortkitError.at(path, "is a TorchScript archive", fix)
    if f"{root}data.pkl" not in entries:
        raise PortkitError.at(path, "is a zip without data.pkl, which torch.save writes")
    order = entries.get(f"{root}byteorder")
    if order and archive.read(order, 16) != b"little":
        raise PortkitError.at(path, "was written on a big-endian machine, which is not read")
    pickled = archive.read(entries[f"{root}data.pkl"], _MOST_PICKLE)
    tensors, others = flatten(load_table(BytesIO(pickled), path), path)
    placed = place(tensors, path)
    starts = {key: _storage_at(archive, f"{root}data/{key}") for key in {p.key for p in placed}}
    noted = entries.get(root + _METADATA)
    metadata = _metadata(archive.read(noted, _MOST_PICKLE), path) if noted else {}
    return _reader(path, placed, starts, metadata, others)


def _storage_at(archive: Archive, name: str) -> tuple[int, int]:
    entry = archive.entries.get(name)
    if entry is None:
        raise PortkitError.at(archive.path, f"storage {name!r} is not in the archive")
    if entry.packed != entry.size:
        fix = "save it again with torch.save, which packs nothing"
        raise PortkitError.at(archive.path, f"storage {name!r} is compressed", fix)
    return archive.start_of(entry), entry.size


def _metadata(raw: bytes, path: Path) -> Mapping[str, str]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise PortkitError.at(path, f"its {_METADATA} does not map text to text")
    return MappingProxyType(found)


def _reader(
    path: Path,
    placed: tuple[Placed, ...],
    starts: Mapping[str, tuple[int, int]],
    metadata: Mapping[str, str],
    ignored: tuple[str, ...],
) -> FileReader:
    extents = {}
    for one in placed:
        start, room = starts[one.key]
        if one.end > room:
            what = f"{one.spec.form} ends at byte {one.end} of a storage of {room}"
            raise PortkitError.at(f"{path}: {one.spec.name}", what)
        extents[one.spec.name] = Extent(path, start + one.begin, one.spec.nbytes)
    specs = MappingProxyType({one.spec.name: one.spec for one in placed})
    return FileReader(path, specs, metadata, MappingProxyType(extents), ignored)


def _read_legacy(path: Path) -> FileReader:
    with path.open("rb") as file:
        if load_table(file, path) != LEGACY_MAGIC:
            raise PortkitError.at(path, "is no torch.save file")
        protocol = load_table(file, path)
        if protocol != _LEGACY_PROTOCOL:
            raise PortkitError.at(
                path, f"legacy protocol {_LEGACY_PROTOCOL} is read, found {protocol}"
            )
        system = load_table(file, path)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise PortkitError.at(path, "was written on a big-endian machine, which is not read")
        tensors, others = flatten(load_table(file, path), path)
        keys = load_table(file, path)
        placed = place(tensors, path)
        widths = {t.storage.key: _width(t.storage.dtype) for t in tensors.values()}
        starts = _legacy_storages(file.fileno(), file.tell(), keys, widths, path)
    missing = sorted({one.key for one in placed} - starts.keys())
    if missing:
        raise PortkitError.at(path, f"storage {missing[0]!r} is not in the file")
    return _reader(path, placed, starts, {}, others)


def _width(dtype: Any) -> int:
    return dtype.itemsize if dtype else 1


def _legacy_storages(
    file: int, at: int, keys: Any, widths: Mapping[str, int], path: Path
) -> dict[str, tuple[int, int]]:
    """Find the storages: for each key an element count of 8 bytes, then that many elements."""
    if not isinstance(keys, list):
        raise PortkitError.at(path, "its list of storages is no list")
    size, starts = os.fstat(file).st_size, {}
    for key in map(str, keys):
        raw = os.pread(file, 8, at)
        length = struct.unpack("<q", raw)[0] if len(raw) == 8 else -1
        width = widths.get(key)
        if width is None:
            raise PortkitError.at(path, f"no tensor tells how wide storage {key!r} is")
        nbytes = length * width
        if length < 0 or at + 8 + nbytes > size:
            raise PortkitError.at(path, f"cut short: storage {key!r} reaches beyond the file")
        starts[key] = (at + 8, nbytes)
        at += 8 + nbytes
    return starts


@contextmanager
def open_writer(path: Path, layout: Layout) -> Iterator[Writer]:
    """Write a zip that `torch.load(weights_only=True)` reads, its directory last."""
    from portkit.formats.zipping import ZipLayout, open_zip

    names = {spec.name: f"archive/data/{i}" for i, spec in enumerate(layout.specs)}
    small = {"archive/data.pkl": _pickled(layout.specs), "archive/byteorder": b"little"}
    if layout.metadata:
        text = json.dumps(dict(layout.metadata), separators=(",", ":"), ensure_ascii=False)
        small[f"archive/{_METADATA}"] = text.encode()
    small["archive/.format_version"] = b"1"
    last = {"archive/version": b"3\n"}
    with open_zip(path, ZipLayout(layout.specs, names, small, last, _ALIGN)) as writer:
        yield writer


def _pickled(specs: tuple[TensorSpec, ...]) -> bytes:
    """Return the pickle of an OrderedDict of tensors, as torch's own protocol 2 has it."""
    ordered = b"ccollections\nOrderedDict\n)R"
    items = b"".join(
        _text(spec.name) + _tensor(spec, str(i), ordered) for i, spec in enumerate(specs)
    )
    return b"\x80\x02" + ordered + b"(" + items + b"u."


def _tensor(spec: TensorSpec, key: str, ordered: bytes) -> bytes:
    typed = STORAGES.get(spec.dtype)
    kind = f"torch\n{typed}\n" if typed else "torch.storage\nUntypedStorage\n"
    length = spec.size if typed else spec.nbytes
    storage = b"(" + _text("storage") + b"c" + kind.encode() + _text(key) + _text("cpu")
    storage += _integer(length) + b"tQ"
    strides = tuple(_stride(spec.shape, axis) for axis in range(len(spec.shape)))
    rebuild = "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3"
    middle = storage + _integer(0) + _tuple(spec.shape) + _tuple(strides) + b"\x89" + ordered
    if not typed:
        name = next(name for name, dtype in TORCH_DTYPES.items() if dtype is spec.dtype)
        middle += f"ctorch\n{name}\n".encode()
    return f"ctorch._utils\n{rebuild}\n".encode() + b"(" + middle + b"tR"


def _stride(shape: tuple[int, ...], axis: int) -> int:
    from math import prod

    return prod(max(1, n) for n in shape[axis + 1 :])


def _tuple(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


def _integer(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw
