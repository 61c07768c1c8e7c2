"""Doing it again by other code: safetensors read straight off its specification."""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portkit import formats
from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.tensors import DType, Extent, Specs, TensorSpec

CHUNK = 1 << 19  # bytes of either file compared at once, in buffers that stay in the cache


@dataclass(frozen=True, slots=True)
class PlainReader:
    """One safetensors file, or the shards that an index names."""

    path: Path
    specs: Specs
    metadata: Mapping[str, str]
    places: Mapping[str, Extent]
    ignored: tuple[str, ...] = ()

    def fetch(self, name: str) -> Extent:
        return self.places[name]


@contextmanager
def reopen(path: Path) -> Iterator[Reader]:
    """Open a file independently of the code that wrote it, where its format is simple enough."""
    if path.name.endswith((".safetensors", ".safetensors.index.json")):
        yield _reread(path)
        return
    with formats.open_reader(path) as reader:
        yield reader


def _reread(path: Path) -> PlainReader:
    try:
        if path.suffix == ".safetensors":
            return _read_plain(path, (path,))
        named = json.loads(path.read_bytes())["weight_map"].values()
        return _read_plain(path, tuple(path.parent / name for name in sorted(set(named))))
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        what = f"cannot be read again: {type(error).__name__}: {error}"
        raise PortkitError.at(path, what) from error


def is_reread(reader: Reader) -> bool:
    """Say whether a reader shares no code with what writes files."""
    return isinstance(reader, PlainReader)


def _read_plain(path: Path, shards: tuple[Path, ...]) -> PlainReader:
    specs: dict[str, TensorSpec] = {}
    places: dict[str, Extent] = {}
    metadata: dict[str, str] = {}
    for shard in shards:
        with shard.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
        metadata |= header.pop("__metadata__", {})
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            specs[name] = TensorSpec(name, tuple(entry["shape"]), DType(entry["dtype"]))
            places[name] = Extent(shard, 8 + length + begin, end - begin)
    return PlainReader(path, specs, metadata, places)


def same_bytes(one: Extent, other: Extent) -> bool:
    """Compare two runs of bytes through two small buffers; raise PortkitError on a short file."""
    if one.nbytes != other.nbytes:
        return False
    buffers = bytearray(CHUNK), bytearray(CHUNK)
    with one.path.open("rb", buffering=0) as ours, other.path.open("rb", buffering=0) as theirs:
        sides = ((ours, one, buffers[0]), (theirs, other, buffers[1]))
        for file, extent, _ in sides:
            file.seek(extent.offset)
        for start in range(0, one.nbytes, CHUNK):
            size = min(CHUNK, one.nbytes - start)
            if size < CHUNK:
                for _, _, buffer in sides:
                    del buffer[size:]
            for file, extent, buffer in sides:
                _fill(file, buffer, extent)
            if buffers[0] != buffers[1]:
                return False
    return True


def _fill(file: Any, buffer: bytearray, extent: Extent) -> None:
    filled = file.readinto(buffer)
    with memoryview(buffer) as view:
        while filled < len(buffer):
            more = file.readinto(view[filled:])
            if not more:
                raise PortkitError.at(extent.path, "became shorter while it was read")
            filled += more
