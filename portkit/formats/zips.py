"""Zip archives as tensor files use them: stored entries found without reading them, and written.

The standard library's zipfile neither tells where an entry's bytes lie nor writes an entry of known
size before its data, and costs more to import than a header costs to read.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import PortkitError

STORED, DEFLATED = 0, 8
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_CENTRAL, _LOCAL = b"PK\1\2", b"PK\3\4"
DAMAGED = "its CRC-32 is wrong: the file is damaged"
REPAIR = "copy, download or write it again"
LONGEST_COMMENT = 65_535
_MOST_ENTRIES = 1_000_000
_LONGEST_ENTRY = 46 + 3 * 65_535  # bytes in the directory: its name, extra field and comment
_FULL = 0xFFFF_FFFF
_CHUNK = 1 << 20  # bytes that are summed at once


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive, as its central directory has it."""

    name: str
    method: int
    packed: int  # bytes in the archive
    size: int  # bytes unpacked
    header: int  # offset of the local header
    crc: int  # of the bytes unpacked; 0 also where PyTorch was told to leave it out


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive: its entries by name, and its comment."""

    path: Path
    file: int
    size: int
    entries: Mapping[str, Entry]
    comment: bytes

    def start_of(self, entry: Entry) -> int:
        """Return where an entry's bytes start; raise PortkitError where they cannot."""
        local = os.pread(self.file, 30, entry.header)
        if len(local) < 30 or local[:4] != _LOCAL:
            raise PortkitError.at(self.path, f"entry {entry.name!r} has no local header")
        name, extra = struct.unpack_from("<HH", local, 26)
        start = entry.header + 30 + int(name) + int(extra)
        if start + entry.packed > self.size:
            raise PortkitError.at(self.path, f"entry {entry.name!r} reaches beyond the file")
        return start

    def read(self, entry: Entry, most: int) -> bytes:
        """Return an entry's bytes, unpacked; raise PortkitError above `most` of them."""
        if entry.size > most:
            what = f"entry {entry.name!r} claims {entry.size} bytes, more than {most}"
            raise PortkitError.at(self.path, what)
        raw = os.pread(self.file, entry.packed, self.start_of(entry))
        if entry.method == DEFLATED:
            raw = self._inflate(entry, raw)
        if len(raw) != entry.size:
            what = f"entry {entry.name!r} claims {entry.size} bytes, holds {len(raw)}"
            raise PortkitError.at(self.path, what)
        if entry.crc not in (0, zlib.crc32(raw)):
            raise PortkitError.at(f"{self.path}: {entry.name}", DAMAGED, REPAIR)
        return raw

    def is_intact(self, entry: Entry) -> bool:
        """Say whether a stored entry's bytes are those whose checksum was recorded, if one was."""
        if entry.method != STORED or not entry.crc:
            return True
        start, found = self.start_of(entry), 0
        for at in range(0, entry.size, _CHUNK):
            found = zlib.crc32(os.pread(self.file, min(_CHUNK, entry.size - at), start + at), found)
        return found == entry.crc

    def _inflate(self, entry: Entry, raw: bytes) -> bytes:
        try:
            return zlib.decompressobj(-15).decompress(raw, entry.size + 1)
        except zlib.error as error:
            raise PortkitError.at(self.path, f"entry {entry.name!r}: {error}") from None


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive by its central directory; raise PortkitError."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        try:
            archive = _read_directory(path, file)
        except (struct.error, UnicodeDecodeError):
            raise PortkitError.at(path, "the zip directory is broken") from None
        yield archive
    finally:
        os.close(file)


def _read_directory(path: Path, file: int) -> Archive:
    size = os.fstat(file).st_size
    start = max(0, size - LONGEST_COMMENT - 22 - 20 - 56)
    tail = os.pread(file, size - start, start)
    end = tail.rfind(_END)
    if end < 0 or end + 22 > len(tail):
        raise PortkitError.at(path, "cut short: the zip directory is not there")
    count, length, offset, noted = struct.unpack_from("<HIIH", tail, end + 10)
    if count == 0xFFFF or _FULL in (length, offset):
        end64 = tail.rfind(_END64, 0, end)
        if end64 < 0:
            raise PortkitError.at(path, "the zip64 directory is not there")
        count, length, offset = struct.unpack_from("<QQQ", tail, end64 + 32)
    if offset + length > size or count > _MOST_ENTRIES or count * 46 > length:
        raise PortkitError.at(path, "the zip directory lies outside the file")
    if length > count * _LONGEST_ENTRY:
        what = f"the zip directory claims {length} bytes for {count} entries"
        raise PortkitError.at(path, what)
    entries = _entries(os.pread(file, length, offset), count, path)
    for entry in entries.values():
        if entry.header + 30 + entry.packed > size:
            raise PortkitError.at(path, f"entry {entry.name!r} reaches beyond the file")
        if entry.method == STORED and entry.size != entry.packed:
            raise PortkitError.at(path, f"entry {entry.name!r} has two sizes")
    return Archive(path, file, size, entries, tail[end + 22 : end + 22 + noted])


def _entries(raw: bytes, count: int, path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    at = 0
    for _ in range(count):
        if raw[at : at + 4] != _CENTRAL:
            raise PortkitError.at(path, "the zip directory is broken")
        flags, method = struct.unpack_from("<HH", raw, at + 8)
        crc, packed, size, name_length, extra_length, comment = struct.unpack_from(
            "<IIIHHH", raw, at + 16
        )
        (header,) = struct.unpack_from("<I", raw, at + 42)
        name = raw[at + 46 : at + 46 + name_length].decode()
        extra = raw[at + 46 + name_length : at + 46 + name_length + extra_length]
        wide = _zip64([size, packed, header], extra)
        if flags & 1 or method not in (STORED, DEFLATED):
            what = "encrypted" if flags & 1 else f"packed by method {method}"
            raise PortkitError.at(path, f"entry {name!r} is {what}, which is not read")
        if name in entries:
            raise PortkitError.at(path, f"the zip directory names {name!r} twice")
        entries[name] = Entry(name, method, wide[1], wide[0], wide[2], crc)
        at += 46 + name_length + extra_length + comment
    return entries


def _zip64(narrow: list[int], extra: bytes) -> list[int]:
    """Return sizes and offset with those that did not fit into 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(wide, value) if value == _FULL else value for value in narrow]
        at += 4 + length
    return narrow


@dataclass(frozen=True, slots=True)
class Planned:
    """An entry to be written: where its header and data go is decided before anything is."""

    name: str
    size: int
    header: int
    data: int


def plan_entries(sizes: Mapping[str, int], align: int) -> tuple[Planned, ...]:
    """Lay entries out one after the other, their data aligned."""
    planned = []
    at = 0
    for name, size in sizes.items():
        bare = at + 30 + len(name.encode()) + (20 if size >= _FULL else 0)
        data = bare + (-(bare + 4) % align) + 4
        planned.append(Planned(name, size, at, data))
        at = data + size
    return tuple(planned)


def local_header(entry: Planned, crc: int) -> bytes:
    """Return the header that stands before an entry's data, padded up to the data."""
    name = entry.name.encode()
    wide = entry.size >= _FULL
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if wide else b""
    fill = entry.data - entry.header - 30 - len(name) - len(extra) - 4
    extra += struct.pack("<HH", 0x4246, fill) + b"Z" * fill
    size = _FULL if wide else entry.size
    fixed = (_version(wide=wide), 0x0800, STORED, 0, 0x21, crc, size, size, len(name), len(extra))
    return _LOCAL + struct.pack("<HHHHHIIIHH", *fixed) + name + extra


def directory(entries: tuple[Planned, ...], crcs: Mapping[str, int], comment: bytes) -> bytes:
    """Return the central directory and the end of the archive."""
    start = entries[-1].data + entries[-1].size if entries else 0
    body = b"".join(_central(entry, crcs.get(entry.name, 0)) for entry in entries)
    count = len(entries)
    end = b""
    if count >= 0xFFFF or start >= _FULL:
        fixed = (44, _version(wide=True), _version(wide=True), 0, 0, count, count, len(body), start)
        end = _END64 + struct.pack("<QHHIIQQQQ", *fixed)
        end += _LOCATOR64 + struct.pack("<IQI", 0, start + len(body), 1)
    narrow = (min(count, 0xFFFF), min(count, 0xFFFF), min(len(body), _FULL), min(start, _FULL))
    return body + end + _END + struct.pack("<HHHHIIH", 0, 0, *narrow, len(comment)) + comment


def _central(entry: Planned, crc: int) -> bytes:
    name = entry.name.encode()
    wide_size, wide_header = entry.size >= _FULL, entry.header >= _FULL
    values = [entry.size, entry.size] * wide_size + [entry.header] * wide_header
    extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    size, header = min(entry.size, _FULL), min(entry.header, _FULL)
    version = _version(wide=bool(values))
    fixed = (version, version, 0x0800, STORED, 0, 0x21, crc, size, size, len(name), len(extra))
    return _CENTRAL + struct.pack("<HHHHHHIIIHHHHHII", *fixed, 0, 0, 0, 0, header) + name + extra


def _version(*, wide: bool) -> int:
    return 45 if wide else 20
