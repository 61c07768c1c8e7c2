"""From what a torch pickle holds to named tensors, each in its place within its storage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.formats.pickles import Tensor
from portkit.tensors import TensorSpec

_DEEPEST = 32  # levels of nesting in a checkpoint
_MOST_AGAIN = 100_000  # values, over all containers that are met again in a checkpoint
_LONGEST_NAME = 1000
_MOST_NAMED = 1000  # values that are no tensors, and whose names are kept


def flatten(root: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors by dotted name, and the names of values that are none."""
    if isinstance(root, Tensor):
        fix = "save a dict of them: torch.save(model.state_dict(), FILE)"
        raise PortkitError.at(path, "holds one tensor without a name", fix)
    if not isinstance(root, dict | list | tuple):
        raise PortkitError.at(path, f"holds no dict of tensors but a {type(root).__name__}")
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in _walk(root, "", 0, _Walk(path)):
        if not isinstance(value, Tensor):
            others += [name] * (len(others) < _MOST_NAMED)
        elif name in tensors:
            raise PortkitError.at(path, f"two tensors are called {name!r}")
        else:
            tensors[name] = value
    return tensors, tuple(others)


@dataclass(slots=True)
class _Walk:
    """Which containers were met, so that ever the same ones cannot go on for ever."""

    path: Path
    met: set[int] = field(default_factory=set)
    again: int = 0

    def enter(self, container: Any, name: str, depth: int) -> None:
        if id(container) in self.met:
            self.again += 1 + len(container)
        self.met.add(id(container))
        if depth > _DEEPEST:
            what = f"nested deeper than {_DEEPEST} levels, at {name[:80]!r}"
            raise PortkitError.at(self.path, what)
        if self.again > _MOST_AGAIN:
            what = f"holds the same values again and again, more than {_MOST_AGAIN} times"
            raise PortkitError.at(self.path, what)


def _walk(value: Any, name: str, depth: int, walk: _Walk) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    walk.enter(value, name, depth)
    for key, inner in items:
        text = str(key) if isinstance(key, str | int) else ascii(key)[:40]
        if len(name) + len(text) >= _LONGEST_NAME:
            what = f"a name is longer than {_LONGEST_NAME} characters, under {name[:80]!r}"
            raise PortkitError.at(walk.path, what)
        yield from _walk(inner, f"{name}.{text}" if name else text, depth + 1, walk)
    if not value:
        yield name, None


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor's header, and where it lies within its storage, in bytes."""

    spec: TensorSpec
    key: str
    begin: int

    @property
    def end(self) -> int:
        return self.begin + self.spec.nbytes


def place(tensors: Mapping[str, Tensor], path: Path) -> tuple[Placed, ...]:
    """Return where each tensor lies; raise PortkitError listing those that lie badly."""
    problems = Problems()
    placed = [_place(name, tensor, path, problems) for name, tensor in tensors.items()]
    problems.raise_if_any()
    found = tuple(one for one in placed if one)
    _refuse_sharing(found, path)
    return found


def _place(name: str, tensor: Tensor, path: Path, problems: Problems) -> Placed | None:
    spec = TensorSpec(name, tensor.shape, tensor.dtype)
    where = f"{path}: {name}"
    expected = _row_major(tensor.shape)
    strides = [s for s, n in zip(tensor.strides, tensor.shape, strict=True) if n != 1]
    if spec.size and strides != [s for s, n in zip(expected, tensor.shape, strict=True) if n != 1]:
        what = f"{spec.form} is not contiguous: strides {list(tensor.strides)}, not {expected}"
        problems.add(where, what, "save tensor.contiguous()")
        return None
    storage, width = tensor.storage, tensor.dtype.itemsize
    room = storage.length * (storage.dtype.itemsize if storage.dtype else 1)
    if tensor.offset * width + spec.nbytes > room:
        what = f"{spec.form} at element {tensor.offset} reaches beyond its storage of {room} bytes"
        problems.add(where, what)
        return None
    return Placed(spec, storage.key, (storage.offset + tensor.offset) * width)


def _row_major(shape: tuple[int, ...]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _refuse_sharing(placed: tuple[Placed, ...], path: Path) -> None:
    problems = Problems()
    last: dict[str, Placed] = {}
    for one in sorted(placed, key=lambda p: (p.key, p.begin, p.end)):
        before = last.get(one.key)
        if before and one.spec.nbytes and one.begin < before.end:
            what = f"shares its storage with {before.spec.name}"
            problems.add(f"{path}: {one.spec.name}", what, "save tensor.clone(), or leave one out")
        if one.spec.nbytes and (before is None or one.end > before.end):
            last[one.key] = one
    problems.raise_if_any()
