"""One file a format: readers and writers, the suffix table, atomic publishing.

A format is a module with `open_reader(path)` and, where it can be written, `open_writer(path,
layout)`, and a line in the table.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.formats.protocols import Layout, Reader, Writer
from portkit.formats.publishing import publishing
from portkit.formats.views import as_array, prefixes, select, strip_prefix

__all__ = [
    "READABLE",
    "WRITABLE",
    "as_array",
    "open_reader",
    "open_writer",
    "prefixes",
    "select",
    "strip_prefix",
]


@dataclass(frozen=True, slots=True)
class Known:
    """A format's module, imported when it is used, and whether it can be written."""

    module: str
    writable: bool = True


FORMATS: Mapping[str, Known] = MappingProxyType(
    {
        ".safetensors": Known("portkit.formats.safetensors"),
        ".safetensors.index.json": Known("portkit.formats.safetensors", writable=False),
        ".pth": Known("portkit.formats.torch"),
        ".pt": Known("portkit.formats.torch"),
        ".bin": Known("portkit.formats.torch"),
        ".npz": Known("portkit.formats.npz"),
        ".onnx": Known("portkit.formats.onnx", writable=False),
    }
)
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's old magic, pickled
_LARGEST = (1 << 63) - 1  # bytes, as numpy has it
READABLE = tuple(FORMATS)
WRITABLE = tuple(suffix for suffix, known in FORMATS.items() if known.writable)


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Open a tensor file by its first bytes, or else its suffix; raise PortkitError."""
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(_recognise(path).open_reader(path))
        except OSError as error:
            raise PortkitError.at(path, f"cannot be read: {error.strerror or error}") from error
        _refuse_unusable(reader)
        yield reader


def _recognise(path: Path) -> Any:
    if path.is_dir():
        raise PortkitError.at(path, "is a folder", "name the file inside it")
    if not path.exists():
        raise PortkitError.at(path, "no such file")
    if not path.is_file():
        raise PortkitError.at(path, "is no ordinary file", "save what it gives to a file first")
    known = _by_content(path) or _known(path)
    if known is None:
        fix = f"use one of: {', '.join(READABLE)}"
        raise PortkitError.at(path, f"unknown file type {path.suffix!r}", fix)
    return _module(known)


def _refuse_unusable(reader: Reader) -> None:
    """Refuse names that are no text, and empty tensors too large for any array."""
    problems = Problems()
    for spec in reader.specs.values():
        if 0 in spec.shape and prod(n for n in spec.shape if n) * spec.dtype.itemsize > _LARGEST:
            problems.add(f"{reader.path}: {spec.name}", f"{spec.form} is no array's shape")
    problems.raise_if_any()
    try:
        "".join(reader.specs).encode()
    except UnicodeEncodeError as error:
        what = f"a tensor's name is no text: {error.object[error.start : error.end]!a} in it"
        raise PortkitError.at(reader.path, what) from None


@contextmanager
def open_writer(path: Path, layout: Layout, *, force: bool = False) -> Iterator[Writer]:
    """Write a file of the type its suffix says: it appears whole, or not at all."""
    known = _known(path)
    if known is None or not known.writable:
        fix = f"use one of: {', '.join(WRITABLE)}"
        raise PortkitError.at(path, f"cannot write file type {path.suffix!r}", fix)
    if layout.shard_bytes:
        with _open_shards(path, layout, force=force) as writer:
            yield writer
        return
    with (
        publishing(path, force=force) as partial,
        _module(known).open_writer(partial, layout) as writer,
    ):
        yield writer


@contextmanager
def _open_shards(path: Path, layout: Layout, *, force: bool) -> Iterator[Writer]:
    """Write shards and their index: published together, the index last.

    Shards of an index that is replaced go with it.
    """
    if path.suffix != ".safetensors":
        raise PortkitError.at(path, "only .safetensors files are sharded")
    from portkit.formats.safetensors import INDEX_SUFFIX, open_shards, plan_shards, sibling_shards

    shards, index = plan_shards(path, layout)
    stem = path.name.removesuffix(".safetensors")
    with ExitStack() as stack:
        final = stack.enter_context(publishing(path.with_name(stem + INDEX_SUFFIX), force=force))
        partials = {
            shard.name: stack.enter_context(publishing(path.with_name(shard.name), force=force))
            for shard in reversed(shards)
        }
        with open_shards(partials, shards) as writer:
            yield writer
        final.write_bytes(index)
    if force:
        for stale in sibling_shards(path.with_name(stem)) - {shard.name for shard in shards}:
            path.with_name(stale).unlink(missing_ok=True)


def _module(known: Known) -> Any:
    return import_module(known.module)


def _known(path: Path) -> Known | None:
    name = path.name.lower()
    fitting = [suffix for suffix in FORMATS if name.endswith(suffix)]
    return FORMATS[max(fitting, key=len)] if fitting else None


def _by_content(path: Path) -> Known | None:
    """Recognise a file by its first bytes: a download without suffix, or with a wrong one."""
    with path.open("rb") as file:
        start = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if start.startswith(_LEGACY_TORCH):
        return FORMATS[".pth"]
    if start[:4] == b"PK\3\4":  # .npz and .pth are both zips
        return FORMATS[".npz" if path.name.lower().endswith(".npz") else ".pth"]
    fits = 8 + int.from_bytes(start[:8], "little") <= size
    return FORMATS[".safetensors"] if start[8:9] == b"{" and fits else None
