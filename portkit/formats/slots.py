"""Filling a file whose header is written: each tensor has its place, and all must be filled."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from portkit.formats.copying import copy_range, open_source, write_at
from portkit.tensors import Extent, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portkit.formats.protocols import Array, Buffer


@dataclass(slots=True)
class SlotWriter:
    """Writes tensors into an open file at offsets that its header has promised."""

    file: int
    specs: Mapping[str, TensorSpec]
    offsets: Mapping[str, int]
    watch: Callable[[str, memoryview], None] | None = None  # told of all bytes, for checksums
    written: set[str] = field(default_factory=set)
    _sources: dict[object, int] = field(default_factory=dict)

    def write(self, name: str, value: "Extent | Array | Iterable[Buffer]") -> None:
        """Write one tensor, exactly as long as its spec says."""
        if name in self.written:
            raise AssertionError(f"{name} is written twice")
        spec = self.specs[name]
        count = self._copy(name, value) if isinstance(value, Extent) else self._lay(name, value)
        if count != spec.nbytes:
            raise AssertionError(f"{spec} takes {spec.nbytes} bytes, got {count}")
        self.written.add(name)

    def _copy(self, name: str, extent: Extent) -> int:
        source = self._sources.get(extent.path)
        if source is None:
            source = self._sources[extent.path] = open_source(extent)
        watch = None if self.watch is None else partial(self.watch, name)
        copy_range(source, extent, self.file, self.offsets[name], watch)
        return extent.nbytes

    def _lay(self, name: str, value: "Array | Iterable[Buffer]") -> int:
        pieces: Any = [value] if hasattr(value, "dtype") else value
        done = 0
        for piece in pieces:
            data = flat_bytes(piece)
            if self.watch is not None:
                self.watch(name, data)
            done += write_at(self.file, data, self.offsets[name] + done)
        return done

    def finish(self) -> None:
        """Make sure that nothing was left out."""
        missing = [name for name in self.specs if name not in self.written]
        if missing:
            raise AssertionError(f"{len(missing)} tensors were not written, first {missing[0]}")

    def close(self) -> None:
        for source in self._sources.values():
            os.close(source)
        self._sources.clear()


def flat_bytes(piece: "Buffer") -> memoryview:
    """Return a contiguous buffer's bytes; of numpy's 0-d and empty arrays too."""
    if isinstance(piece, bytes | bytearray | memoryview):
        return memoryview(piece).cast("B")
    if not piece.flags.c_contiguous:
        raise AssertionError("only C-ordered arrays are written")
    flat: Any = piece.reshape(-1).view("u1")
    return memoryview(flat) if piece.size else memoryview(b"")
