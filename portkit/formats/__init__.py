"""One file a format: readers and writers, the suffix table, atomic publishing.

A format is a module with `open_reader(path)` and, where it can be written, `open_writer(path,
layout)`, and a line in the table.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError
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
READABLE = tuple(FORMATS)
WRITABLE = tuple(suffix for suffix, known in FORMATS.items() if known.writable)


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Open a tensor file by its suffix, or by its first bytes; raise PortkitError."""
    if path.is_dir():
        raise PortkitError.at(path, "is a folder", "name the file inside it")
    if not path.exists():
        raise PortkitError.at(path, "no such file")
    known = _known(path) or _by_content(path)
    if known is None:
        fix = f"use one of: {', '.join(READABLE)}"
        raise PortkitError.at(path, f"unknown file type {path.suffix!r}", fix)
    try:
        with _module(known).open_reader(path) as reader:
            yield reader
    except OSError as error:
        raise PortkitError.at(path, f"cannot be read: {error.strerror or error}") from error


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
    """Write shards and their index: published together, the index last."""
    if path.suffix != ".safetensors":
        raise PortkitError.at(path, "only .safetensors files are sharded")
    from portkit.formats.safetensors import INDEX_SUFFIX, open_shards, plan_shards

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


def _module(known: Known) -> Any:
    return import_module(known.module)


def _known(path: Path) -> Known | None:
    name = path.name.lower()
    fitting = [suffix for suffix in FORMATS if name.endswith(suffix)]
    return FORMATS[max(fitting, key=len)] if fitting else None


def _by_content(path: Path) -> Known | None:
    """Recognise a file without a telling suffix, such as a download, by its first bytes."""
    from portkit.formats.torch import LEGACY_START

    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise PortkitError.at(path, f"cannot be read: {error.strerror}") from None
    if start[:4] == b"PK\3\4" or start.startswith(LEGACY_START):
        return FORMATS[".pth"]
    return FORMATS[".safetensors"] if start[8:9] == b"{" else None
