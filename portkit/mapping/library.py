"""The mappings that ship with portkit, and which of them lead from one scheme to another."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from portkit.errors import PortkitError
from portkit.mapping.inversion import invert, obstacles
from portkit.mapping.loading import load_mapping
from portkit.mapping.rules import PortMap

_LONGEST = 4  # mappings in a row; a longer way round is no route anyone wants


def mappings_folder() -> Path:
    """Return where the shipped mappings lie: in the package or, in a checkout, beside it."""
    package = Path(__file__).parents[1]
    inside = package / "mappings"
    return inside if inside.is_dir() else package.parent / "mappings"


def load_library(word: str = "") -> tuple[PortMap, ...]:
    """Read every shipped mapping that holds a word, in the order of their names."""
    paths = sorted(mappings_folder().glob("*/*.yaml"))
    return tuple(_load(path) for path in paths if word in path.read_text(encoding="utf-8"))


@cache
def _load(path: Path) -> PortMap:
    return load_mapping(path, _name(path))


def _name(path: Path) -> str:
    return path.relative_to(mappings_folder()).with_suffix("").as_posix()


def shipped_mapping(name: str) -> PortMap:
    """Return the shipped mapping of this name; raise PortkitError with the nearest ones."""
    folder = mappings_folder()
    known = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in folder.glob("*/*.yaml")
    }
    if name in known:
        return _load(known[name])
    from difflib import get_close_matches

    close = get_close_matches(name, known, 3, 0.3) or list(known)[:3]
    fix = f"nearest: {', '.join(close)}; `portkit mappings list` shows all"
    raise PortkitError.at(name, "no shipped mapping has this name", fix)


def find_routes(source: str, target: str, arch: str) -> tuple[tuple[PortMap, ...], ...]:
    """Return every way through the library between two schemes for `arch`, shortest first."""
    fitting = (portmap for portmap in load_library(arch) if _stays_within(portmap, arch))
    edges = [edge for portmap in fitting for edge in _ways(portmap)]
    return tuple(sorted(_walk(edges, source, target, (source,)), key=len))


def _stays_within(portmap: PortMap, arch: str) -> bool:
    """Say whether a mapping is for an architecture on both sides, and not from or to another."""
    named = (end.partition(":")[2] for end in (portmap.source, portmap.target))
    return portmap.covers(arch) and all(name in ("", arch) for name in named)


def _ways(portmap: PortMap) -> Iterator[PortMap]:
    yield portmap
    if not obstacles(portmap):
        yield invert(portmap)


def _walk(
    edges: list[PortMap], here: str, target: str, passed: tuple[str, ...]
) -> Iterator[tuple[PortMap, ...]]:
    for edge in edges:
        if _scheme(edge.source) != here or len(passed) > _LONGEST:
            continue
        there = _scheme(edge.target)
        if there == target:
            yield (edge,)
        elif there not in passed:
            for rest in _walk(edges, there, target, (*passed, there)):
                yield (edge, *rest)


def _scheme(end: str) -> str:
    return end.split(":", 1)[0]
