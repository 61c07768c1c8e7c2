"""Writing tensors into a zip: headers first, checksums patched in, the directory last."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from portkit.formats.copying import write_at
from portkit.formats.protocols import Writer
from portkit.formats.slots import SlotWriter
from portkit.formats.zips import directory, local_header, plan_entries
from portkit.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class ZipLayout:
    """What goes into an archive: small entries, tensors under entry names, more small entries."""

    specs: tuple[TensorSpec, ...]
    names: Mapping[str, str]  # of tensors → of entries
    first: Mapping[str, bytes]
    last: Mapping[str, bytes]
    align: int
    heads: Mapping[str, bytes] | None = None  # bytes before a tensor's own, in its entry
    comment: bytes = b""


@contextmanager
def open_zip(path: Path, layout: ZipLayout) -> Iterator[Writer]:
    """Lay the whole archive out, write what is known, then take the tensors in any order."""
    heads = layout.heads or {}
    sizes = {name: len(data) for name, data in layout.first.items()}
    for spec in layout.specs:
        sizes[layout.names[spec.name]] = len(heads.get(spec.name, b"")) + spec.nbytes
    sizes |= {name: len(data) for name, data in layout.last.items()}
    entries = {entry.name: entry for entry in plan_entries(sizes, layout.align)}
    crcs = {name: crc32(data) for name, data in {**layout.first, **layout.last}.items()}
    crcs |= {layout.names[name]: crc32(head) for name, head in heads.items()}
    starts = {
        spec.name: entries[layout.names[spec.name]].data + len(heads.get(spec.name, b""))
        for spec in layout.specs
    }

    def watch(name: str, data: memoryview) -> None:
        entry = layout.names[name]
        crcs[entry] = crc32(data, crcs.get(entry, 0))

    with path.open("xb", buffering=0) as file:
        number = file.fileno()
        for name, data in {**layout.first, **layout.last}.items():
            write_at(number, data, entries[name].data)
        for name, head in heads.items():
            write_at(number, head, entries[layout.names[name]].data)
        specs = {spec.name: spec for spec in layout.specs}
        writer = SlotWriter(number, specs, starts, watch)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        for entry in entries.values():
            write_at(number, local_header(entry, crcs.get(entry.name, 0)), entry.header)
        planned = tuple(entries.values())
        end = max((entry.data + entry.size for entry in planned), default=0)
        write_at(number, directory(planned, crcs, layout.comment), end)
