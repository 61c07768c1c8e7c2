"""safetensors: eight bytes of length, a JSON header, the data. One file or shards with an index."""

import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.formats.limits import brief, is_shape
from portkit.formats.protocols import Layout, Writer
from portkit.formats.slots import SlotWriter
from portkit.tensors import DType, Extent, Specs, TensorSpec

INDEX_SUFFIX = ".safetensors.index.json"
_PAGE = 4096
_FOLIO = 1 << 16  # what file systems cache in one piece: copies between equal phases are faster
_LARGE = 1 << 26  # bytes of tensors from which that is worth so long a header
_LONGEST_HEADER = 100_000_000  # bytes, as the reference implementation has it
_KEYS = frozenset(("dtype", "shape", "data_offsets"))
_DTYPES: Mapping[str, DType] = MappingProxyType({str(dtype): dtype for dtype in DType})


@dataclass(frozen=True, slots=True)
class FileReader:
    """One safetensors file, or several that an index holds together."""

    path: Path
    specs: Specs
    metadata: Mapping[str, str]
    extents: Mapping[str, Extent]
    ignored: tuple[str, ...] = ()

    def fetch(self, name: str) -> Extent:
        return self.extents[name]


@contextmanager
def open_reader(path: Path) -> Iterator[FileReader]:
    """Read a file's header; raise PortkitError with all that is wrong with it."""
    yield _read_index(path) if path.name.endswith(".json") else _read_file(path)


def _read_file(path: Path) -> FileReader:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8:
            raise PortkitError.at(path, f"too short for a header: {size} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > _LONGEST_HEADER:
            what = f"the header claims {length} bytes, more than {_LONGEST_HEADER}"
            raise PortkitError.at(path, what)
        if 8 + length > size:
            raise PortkitError.at(path, f"cut short: a header of {length} bytes in {size} in all")
        header = _parse(file.read(length), path)
    metadata = _metadata(header.pop("__metadata__", {}), path)
    specs, extents = _table(header, path, data=8 + length, size=size)
    return FileReader(path, specs, metadata, extents)


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = sorted(name for name, _ in pairs)
            repeated.append(next(one for one, two in pairwise(names) if one == two))
        return found

    try:
        header = json.loads(raw.decode(), object_pairs_hook=unique)
    except ValueError as error:
        raise PortkitError.at(path, f"the header is no JSON: {error}") from None
    except RecursionError:
        raise PortkitError.at(path, "the header is no JSON: it is nested too deep") from None
    if repeated:
        raise PortkitError.at(path, f"the header names {repeated[0]!r} twice")
    if not isinstance(header, dict):
        raise PortkitError.at(path, "the header is no JSON object")
    return header


def _metadata(raw: Any, path: Path) -> Mapping[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise PortkitError.at(path, "__metadata__ must map text to text")
    return MappingProxyType(raw)


def _table(
    header: Mapping[str, Any], path: Path, *, data: int, size: int
) -> tuple[Specs, Mapping[str, Extent]]:
    problems = Problems()
    entries: list[tuple[int, int, TensorSpec]] = []
    for name, entry in header.items():
        found = _entry(name, entry)
        if isinstance(found, str):
            problems.add(f"{path}: {name}", found)
        else:
            entries.append(found)
    problems.raise_if_any()
    entries.sort(key=lambda entry: (entry[0], entry[1]))
    _check_layout(entries, path, size - data)
    return (
        MappingProxyType({spec.name: spec for _, _, spec in entries}),
        MappingProxyType(
            {spec.name: Extent(path, data + begin, end - begin) for begin, end, spec in entries}
        ),
    )


def _entry(name: str, entry: Any) -> tuple[int, int, TensorSpec] | str:
    """Return where a tensor begins and ends, and its header; or what is wrong with it."""
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        return "needs exactly dtype, shape and data_offsets"
    shape, offsets = entry["shape"], entry["data_offsets"]
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        return f"unknown dtype {brief(entry['dtype'])}"
    if not is_shape(shape) or not is_shape(offsets) or len(offsets) != 2:
        found = f"{brief(shape)} and {brief(offsets)}"
        return f"shape and offsets must be lists of sizes, found {found}"
    spec = TensorSpec(name, tuple(shape), dtype)
    begin, end = offsets
    nbytes = spec.nbytes
    if end - begin != nbytes:
        return f"{spec.form} takes {nbytes} bytes, its offsets span {end - begin}"
    return begin, end, spec


def _check_layout(entries: list[tuple[int, int, TensorSpec]], path: Path, room: int) -> None:
    """Refuse overlaps, holes and data beyond the end, as the specification does."""
    problems = Problems()
    expected = 0
    for begin, end, spec in entries:
        if begin != expected and not problems:
            kind = (
                "overlaps the tensor before it" if begin < expected else "leaves a hole before it"
            )
            problems.add(f"{path}: {spec.name}", f"{kind}: starts at {begin}, expected {expected}")
        expected = max(expected, end)
    if expected > room:
        problems.add(path, f"cut short: tensors need {expected} bytes, {room} are there")
    elif expected < room and not problems:
        problems.add(path, f"{room - expected} bytes after the last tensor belong to none")
    problems.raise_if_any()


def _read_index(path: Path) -> FileReader:
    if path.stat().st_size > _LONGEST_HEADER:
        raise PortkitError.at(path, f"an index of more than {_LONGEST_HEADER} bytes is not read")
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        places = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        what = "no index: a JSON object with weight_map is needed"
        raise PortkitError.at(path, what) from None
    problems = Problems()
    shards = {shard: _open_shard(path, shard, problems) for shard in sorted(set(places.values()))}
    problems.raise_if_any()
    specs: dict[str, TensorSpec] = {}
    extents: dict[str, Extent] = {}
    opened = {shard: reader for shard, reader in shards.items() if reader is not None}
    for shard, reader in opened.items():
        for name, spec in reader.specs.items():
            if places.get(name) != shard:
                said = f"says {places[name]}" if name in places else "does not name it"
                problems.add(path, f"{name} lies in {shard}, the index {said}")
            specs[name], extents[name] = spec, reader.extents[name]
    for name in sorted(places.keys() - specs.keys()):
        problems.add(path, f"{name} is not in {places[name]}")
    problems.raise_if_any()
    metadata = next((r.metadata for r in opened.values() if r.metadata), {})
    return FileReader(path, MappingProxyType(specs), metadata, MappingProxyType(extents))


def _open_shard(path: Path, shard: str, problems: Problems) -> FileReader | None:
    parts = PurePosixPath(shard.replace("\\", "/"))
    if len(parts.parts) != 1 or shard in ("", ".", ".."):
        problems.add(path, f"shard {shard!r} lies outside the index's folder")
        return None
    file = path.parent / shard
    if not file.is_file():
        problems.add(path, f"shard {shard!r} is not there")
        return None
    with problems.collecting():
        return _read_file(file)
    return None


@contextmanager
def open_writer(path: Path, layout: Layout) -> Iterator[Writer]:
    """Write one file: header first, its data at the source's place within a page."""
    if any(spec.name == "__metadata__" for spec in layout.specs):
        raise PortkitError.at("__metadata__", "is no tensor's name in .safetensors", "rename it")
    offsets, length = {}, 0
    header: dict[str, Any] = {"__metadata__": dict(layout.metadata)} if layout.metadata else {}
    for spec in layout.specs:
        end = length + spec.nbytes
        header[spec.name] = {
            "dtype": str(spec.dtype),
            "shape": list(spec.shape),
            "data_offsets": [length, end],
        }
        offsets[spec.name], length = length, end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    raw = _padded(text, layout.phase, _FOLIO if length >= _LARGE else _PAGE)
    with path.open("xb", buffering=0) as file:
        file.write(raw)
        places = {name: len(raw) + offset for name, offset in offsets.items()}
        writer = SlotWriter(file.fileno(), {spec.name: spec for spec in layout.specs}, places)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()


def _padded(text: str, phase: int, period: int) -> bytes:
    """Return the header so long that data begins at `phase` modulo `period`."""
    raw = text.encode()
    fill = (phase - 8 - len(raw)) % period if phase and phase % 8 == 0 else -len(raw) % 8
    return struct.pack("<Q", len(raw) + fill) + raw + b" " * fill


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a sharded checkpoint: its name, and what it holds."""

    name: str
    layout: Layout


def plan_shards(path: Path, layout: Layout) -> tuple[tuple[Shard, ...], bytes]:
    """Divide tensors over files of `shard_bytes` (or of one larger tensor), with their index."""
    groups: list[list[TensorSpec]] = [[]]
    filled = 0
    for spec in layout.specs:
        if groups[-1] and filled + spec.nbytes > layout.shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(spec)
        filled += spec.nbytes
    stem = path.name.removesuffix(INDEX_SUFFIX).removesuffix(".safetensors")
    shards = tuple(
        Shard(
            f"{stem}-{i:05d}-of-{len(groups):05d}.safetensors",
            Layout(tuple(group), layout.metadata),
        )
        for i, group in enumerate(groups, 1)
    )
    index = {
        "metadata": {"total_size": sum(spec.nbytes for spec in layout.specs)},
        "weight_map": {spec.name: shard.name for shard in shards for spec in shard.layout.specs},
    }
    return shards, json.dumps(index, indent=2, ensure_ascii=False).encode() + b"\n"


def sibling_shards(stem: Path) -> set[str]:
    """Return the names of all shards that belong to one checkpoint's name."""
    numbered = re.compile(re.escape(stem.name) + r"-\d{5}-of-\d{5}\.safetensors")
    names = (path.name for path in stem.parent.iterdir())
    return {name for name in names if numbered.fullmatch(name)}


@contextmanager
def open_shards(paths: Mapping[str, Path], shards: tuple[Shard, ...]) -> Iterator[Writer]:
    """Open all shards for writing; each tensor goes to its own."""
    with ExitStack() as stack:
        writers = {
            spec.name: writer
            for shard in shards
            for writer in [stack.enter_context(open_writer(paths[shard.name], shard.layout))]
            for spec in shard.layout.specs
        }
        yield ShardWriter(MappingProxyType(writers))


@dataclass(frozen=True, slots=True)
class ShardWriter:
    """Hands each tensor to the file that it belongs to."""

    writers: Mapping[str, Writer]

    def write(self, name: str, value: Any) -> None:
        self.writers[name].write(name, value)
