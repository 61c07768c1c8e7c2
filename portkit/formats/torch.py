"""torch.save's files: the zip of today and the legacy run of pickles, read without torch."""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError
from portkit.formats.checkpoints import Placed, flatten, place
from portkit.formats.limits import brief
from portkit.formats.pickles import STORAGES, TORCH_DTYPES, load_table
from portkit.formats.protocols import Layout, Writer
from portkit.formats.zips import STORED, Archive, open_archive
from portkit.tensors import Extent, Specs, TensorSpec

_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_MOST_PICKLE = 256 << 20  # bytes
_MOST_UNPACKED = 4 << 20  # bytes of a compressed pickle: torch compresses none
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
    elif start[:1] == b"\x80" and _LEGACY_MAGIC in start:
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
    pickle = entries[f"{root}data.pkl"]
    most = _MOST_PICKLE if pickle.method == STORED else _MOST_UNPACKED
    table = load_table(BytesIO(archive.read(pickle, most)), path)
    tensors, others = flatten(table.root, path)
    placed = place(tensors, path)
    starts = {key: _storage_at(archive, f"{root}data/{key}") for key in {p.key for p in placed}}
    noted = entries.get(root + _METADATA)
    metadata = _metadata(archive.read(noted, _MOST_UNPACKED), path) if noted else {}
    return _reader(path, placed, starts, metadata, others)


def _storage_at(archive: Archive, name: str) -> tuple[int, int]:
    entry = archive.entries.get(name)
    if entry is None:
        raise PortkitError.at(archive.path, f"storage {name!r} is not in the archive")
    if entry.method != STORED:
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
    # mapped: a plain file's read allocates whatever length a pickle claims, before it reads
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        load_table(data, path)  # the magic number
        protocol = load_table(data, path).root
        if protocol != _LEGACY_PROTOCOL:
            what = f"legacy protocol {_LEGACY_PROTOCOL} is read, found {brief(protocol)}"
            raise PortkitError.at(path, what)
        system = load_table(data, path).root
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise PortkitError.at(path, "was written on a big-endian machine, which is not read")
        table = load_table(data, path)
        tensors, others = flatten(table.root, path)
        placed = place(tensors, path)
        keys = load_table(data, path).root
        starts = _legacy_storages(data, keys, table.widths, path)
    missing = sorted({one.key for one in placed} - starts.keys())
    if missing:
        raise PortkitError.at(path, f"storage {missing[0]!r} is not in the file")
    return _reader(path, placed, starts, {}, others)


def _legacy_storages(
    data: mmap, keys: Any, widths: Mapping[str, int], path: Path
) -> dict[str, tuple[int, int]]:
    """Find the storages: for each key an element count of 8 bytes, then that many elements."""
    if not isinstance(keys, list):
        raise PortkitError.at(path, "its list of storages is no list")
    at, starts = data.tell(), {}
    for key in keys:
        width = widths.get(key) if isinstance(key, str) else None
        if width is None:
            raise PortkitError.at(path, f"no tensor tells how wide storage {brief(key)} is")
        length = int.from_bytes(data[at : at + 8], "little", signed=True)
        nbytes = length * width
        if length < 0 or at + 8 + nbytes > len(data):
            raise PortkitError.at(path, f"cut short: storage {key!r} reaches beyond the file")
        if key in starts:
            raise PortkitError.at(path, f"lists storage {key!r} twice")
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
