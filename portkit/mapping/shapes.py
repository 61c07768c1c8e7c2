"""Shape rules: `[out, c*7*7] -> [out, c, 7, 7]`, checked against the tensors a rule meets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from portkit.tensors import Shape

Dim = tuple[int | str, ...]  # a product of numbers and symbols

_SIDE = re.compile(r"\s*\[(.*)\]\s*", re.DOTALL)
_FACTOR = re.compile(r"\d+|[A-Za-z_]\w*")


class ShapeError(ValueError):
    """A shape rule that cannot be read or does not hold; its text is the complaint."""


@dataclass(frozen=True, slots=True)
class ShapeRule:
    """The shape a rule takes and the one it gives. Symbols bind on the left."""

    takes: tuple[Dim, ...]
    gives: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{_side_text(self.takes)} -> {_side_text(self.gives)}"

    def bind(self, shape: Shape, symbols: Mapping[str, int]) -> dict[str, int]:
        """Return the symbols with those that `shape` decides; raise ShapeError."""
        if len(shape) != len(self.takes):
            raise ShapeError(
                f"{_side_text(self.takes)} has {len(self.takes)} axes, found {list(shape)}"
            )
        bound = dict(symbols)
        for dim, length in sorted(
            zip(self.takes, shape, strict=True), key=lambda pair: len(pair[0])
        ):
            _bind_dim(dim, length, bound)
        return bound

    def check(self, shape: Shape, symbols: Mapping[str, int]) -> None:
        """Compare what came out with the right side; raise ShapeError."""
        wanted = tuple(prod(f if isinstance(f, int) else symbols[f] for f in d) for d in self.gives)
        if wanted != shape:
            raise ShapeError(
                f"{_side_text(self.gives)} is {list(wanted)}, the ops make {list(shape)}"
            )

    def inverse(self) -> "ShapeRule":
        return ShapeRule(self.gives, self.takes)


def parse_shape(text: str) -> ShapeRule:
    """Read `[…] -> […]`; raise ShapeError."""
    sides = text.split("->")
    if len(sides) != 2:
        raise ShapeError(f"{text!r} needs one '->' between two shapes")
    takes, gives = (_parse_side(side, text) for side in sides)
    symbols = [{f for dim in side for f in dim if isinstance(f, str)} for side in (takes, gives)]
    lone = sorted(symbols[0] ^ symbols[1])
    if lone:
        raise ShapeError(f"{lone[0]!r} is on one side of {text!r} only")
    return ShapeRule(takes, gives)


def _parse_side(text: str, whole: str) -> tuple[Dim, ...]:
    found = _SIDE.fullmatch(text)
    if not found:
        raise ShapeError(f"{whole!r}: a shape is written [a, b, …]")
    inside = found[1].strip()
    return tuple(_parse_dim(dim, whole) for dim in inside.split(",")) if inside else ()


def _parse_dim(text: str, whole: str) -> Dim:
    factors = [factor.strip() for factor in text.split("*")]
    if not all(map(_FACTOR.fullmatch, factors)):
        raise ShapeError(f"{text.strip()!r} in {whole!r} is no product of numbers and symbols")
    return tuple(int(factor) if factor.isdigit() else factor for factor in factors)


def _bind_dim(dim: Dim, length: int, bound: dict[str, int]) -> None:
    unknown = [factor for factor in dim if isinstance(factor, str) and factor not in bound]
    known = prod(f if isinstance(f, int) else bound[f] for f in dim if f not in unknown)
    text = "*".join(map(str, dim))
    if len(unknown) > 1:
        raise ShapeError(f"{text} is {length}: only one of {', '.join(unknown)} can be found")
    if not unknown and known != length:
        raise ShapeError(f"{text} should be {known}, found {length}")
    if unknown:
        if known == 0 or length % known:
            raise ShapeError(f"{text}: {length} is no multiple of {known}")
        bound[unknown[0]] = length // known


def _side_text(side: tuple[Dim, ...]) -> str:
    return "[" + ", ".join("*".join(map(str, dim)) for dim in side) + "]"
