"""Where a file's tensors came from: written into every output, read back before a second port."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.tensors import Extent, Specs

KEY = "portkit"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The file whose tensors were moved: enough to notice that it changed."""

    path: str  # relative to the output's folder, where there is a way
    size: int  # bytes, of all its files
    header: str  # digest of names, dtypes and shapes
    data: str = ""  # digest of all their bytes, on request


@dataclass(frozen=True, slots=True)
class AppliedMapping:
    """A mapping that was run, and which bytes it had."""

    name: str  # of a shipped mapping, or a path relative to the output's folder
    digest: str
    inverted: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """One port: from what, to what, through which mappings, and what is not from the source."""

    version: str
    source: str  # "torchvision:vgg16@random:0"; a file's path is in `file`
    target: str  # "conv-head:vgg16(num_classes=5)"
    route: tuple[str, ...]
    mappings: tuple[AppliedMapping, ...]
    file: SourceFile | None = None
    scaling: str = ""  # how random weights were scaled
    initialised: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  # what the source itself was ported from, newest first


def write_provenance(provenance: Provenance) -> dict[str, str]:
    """Return the metadata that carries a provenance."""
    return {KEY: json.dumps(asdict(provenance), separators=(",", ":"))}


def read_provenance(metadata: Mapping[str, str], where: object) -> Provenance | None:
    """Return a file's provenance, None where it has none; raise PortkitError on a broken one."""
    if KEY not in metadata:
        return None
    try:
        return _provenance(json.loads(metadata[KEY]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        fix = "convert again from the source"
        raise PortkitError.at(where, f"its portkit provenance is broken: {error}", fix) from None


def _provenance(raw: Any) -> Provenance:
    if not isinstance(raw, dict):
        raise TypeError("no JSON object")
    texts: dict[str, Any] = {key: raw[key] for key in ("version", "source", "target")}
    texts["scaling"] = raw.get("scaling", "")
    keys = ("route", "initialised", "dropped", "before")
    lists: dict[str, Any] = {key: tuple(raw.get(key, ())) for key in keys}
    for value in (*texts.values(), *(item for items in lists.values() for item in items)):
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
    mappings = tuple(
        AppliedMapping(str(one["name"]), str(one["digest"]), bool(one["inverted"]))
        for one in raw["mappings"]
    )
    if not mappings:
        raise ValueError("it names no mapping")
    file = raw.get("file")
    if file and [type(file.get(key)) for key in ("path", "size", "header")] != [str, int, str]:
        raise TypeError("its source file is not described")
    return Provenance(
        **texts, **lists, mappings=mappings, file=SourceFile(**file) if file else None
    )


def header_digest(specs: Specs) -> str:
    """Return the blake3 of names, dtypes and shapes in the order of the names."""
    from blake3 import blake3

    lines = "\n".join(str(specs[name]) for name in sorted(specs))
    return f"blake3:{blake3(lines.encode()).hexdigest()}"


def files_of(reader: Reader) -> tuple[Path, ...]:
    """Return every file that holds a part of a checkpoint: shards and external data too."""
    if reader.path.suffix not in (".json", ".onnx"):
        return (reader.path,)
    places = (reader.fetch(name) for name in reader.specs)
    others = {place.path for place in places if isinstance(place, Extent)}
    return (reader.path, *sorted(others - {reader.path}))


def data_digest(paths: tuple[Path, ...]) -> str:
    """Return the blake3 of all bytes of these files, in their order."""
    from blake3 import blake3

    hasher = blake3(max_threads=blake3.AUTO)
    for path in paths:
        hasher.update_mmap(path)
    return f"blake3:{hasher.hexdigest()}"


def relative_path(path: Path, folder: Path) -> str:
    """Return how to find `path` from `folder`, so that both can move together."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()
