"""Finds ported files below a folder: those whose own provenance says that portkit wrote them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import PortkitError, Problem
from portkit.formats import READABLE

_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.safetensors")
_SKIPPED = ("site-packages", "dist-packages", "node_modules", "__pycache__")
_ENVIRONMENT = "pyvenv.cfg"  # marks a folder as a virtual environment
_EDGE = 1 << 20  # bytes at either end of a file in which provenance would stand


@dataclass(frozen=True, slots=True)
class Found:
    """Ported files, and files of ours that can no longer be read."""

    artifacts: tuple[Path, ...]
    broken: tuple[Problem, ...]


def find_artifacts(folder: Path) -> Found:
    """Look below `folder`, in the order of names; what is not portkit's is passed over."""
    artifacts: list[Path] = []
    broken: list[Problem] = []
    for path in _candidates(folder):
        try:
            if _has_provenance(path):
                artifacts.append(path)
        except PortkitError as error:
            if _mentions_portkit(path):
                broken.extend(error.problems)
    return Found(tuple(artifacts), tuple(broken))


def _candidates(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_searched(Path(root, name)))
        for name in sorted(names):
            if name.endswith(READABLE) and name[0] != "." and not _SHARD.fullmatch(name):
                yield Path(root, name)


def _is_searched(folder: Path) -> bool:
    name = folder.name
    return name[0] != "." and name not in _SKIPPED and not (folder / _ENVIRONMENT).exists()


def _has_provenance(path: Path) -> bool:
    from portkit.formats import open_reader
    from portkit.provenance import KEY

    with open_reader(path) as reader:
        return KEY in reader.metadata


def _mentions_portkit(path: Path) -> bool:
    """Say whether a file that cannot be read was probably written by portkit."""
    try:
        with path.open("rb") as file:
            edges = file.read(_EDGE)
            file.seek(max(0, path.stat().st_size - _EDGE))
            edges += file.read(_EDGE)
    except OSError:
        return False
    return b"portkit" in edges
