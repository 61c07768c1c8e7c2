"""Rearranging: split, permute and merge axes, in einops' notation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError, Size, one_shape, size_of
from portkit.tensors import Shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


Permutation = tuple[Shape, tuple[int, ...]]  # axes to split into, and their new order
Group = tuple[str, ...]  # the axes that a rearrange pattern writes as one; () is an axis of 1


@dataclass(frozen=True, slots=True)
class Rearrange:
    """Split, permute and merge axes, in einops' notation (no reduction, no repetition).

    >>> from portkit.tensors import DType
    >>> op = parse_rearrange("out (c h w) -> out c h w", {"h": 2, "w": 3})
    >>> bound, frame = op.bind(Frame(((5, 24),), (DType.F32,)), {})
    >>> frame.shapes, bound.permutation()
    (((5, 4, 2, 3),), ((120,), (0,)))
    """

    left: tuple[Group, ...]
    right: tuple[Group, ...]
    sizes: tuple[tuple[str, Size], ...] = ()

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    @property
    def pattern(self) -> str:
        """The einops pattern: with `dict(sizes)` of a bound op, einops does the same."""
        return f"{_side_text(self.left)} -> {_side_text(self.right)}"

    def __str__(self) -> str:
        given = ", ".join(f"{axis}={size}" for axis, size in self.sizes)
        return self.pattern + (f" ({given})" if given and any(map(_merged, self.left)) else "")

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Rearrange, Frame]":
        shape = one_shape(frame, "rearrange")
        if len(shape) != len(self.left):
            raise OpError(f"{self.pattern!r} takes {len(self.left)} axes, found {list(shape)}")
        sizes = {axis: size_of(size, symbols) for axis, size in self.sizes}
        for group, length in zip(self.left, shape, strict=True):
            _solve_group(group, length, sizes)
        ordered = tuple((axis, sizes[axis]) for group in self.left for axis in group)
        out = tuple(prod(sizes[axis] for axis in group) for group in self.right)
        bound = Rearrange(self.left, self.right, ordered)
        return bound, replace(
            frame, shapes=(out,) * len(frame.shapes), axes=self.rename(frame.axes)
        )

    def permutation(self) -> Permutation:
        """Return the fewest axes to split into, and their new order; `(0,)` moves nothing."""
        sizes = dict(self.sizes)
        before = [a for group in self.left for a in group if sizes[a] != 1]
        after = [a for group in self.right for a in group if sizes[a] != 1]
        place = {axis: i for i, axis in enumerate(before)}
        order = [place[axis] for axis in after]
        return simplify(tuple(int(sizes[axis]) for axis in before), tuple(order))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        del axes
        return tuple(group[0] if len(group) == 1 else "" for group in self.right)

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        sizes = {axis: int(size) for axis, size in self.sizes}
        before = [axis for group in self.left for axis in group]
        after = [axis for group in self.right for axis in group]
        order = [before.index(axis) for axis in after]
        out = [prod(sizes[axis] for axis in group) for group in self.right]
        split = [sizes[axis] for axis in before]
        return tuple(a.reshape(split).transpose(order).reshape(out) for a in arrays)

    def inverse(self) -> "Rearrange":
        return Rearrange(self.right, self.left, self.sizes)


def _merged(group: Group) -> bool:
    return len(group) > 1


def _side_text(side: tuple[Group, ...]) -> str:
    return " ".join(map(_group_text, side))


def _group_text(group: Group) -> str:
    if len(group) == 1:
        return group[0]
    return f"({' '.join(group)})" if group else "1"


def _solve_group(group: Group, length: int, sizes: dict[str, int]) -> None:
    """Find the one size of the group that is not known yet; raise OpError."""
    unknown = [axis for axis in group if axis not in sizes]
    known = prod(sizes[axis] for axis in group if axis in sizes)
    text = _group_text(group)
    if len(unknown) > 1:
        raise OpError(f"{text} is {length} long: give sizes for all but one of {unknown}")
    if not unknown and known != length:
        raise OpError(f"{text} should be {known} long, found {length}")
    if unknown:
        if known == 0 or length % known:
            raise OpError(f"{text}: {length} is no multiple of {known}")
        sizes[unknown[0]] = length // known


def simplify(split: Shape, order: tuple[int, ...]) -> Permutation:
    """Merge axes that stay neighbours, so that a reshape becomes one axis in place."""
    kept = [axis for axis in order if split[axis] != 1]
    runs: list[list[int]] = []
    for axis in kept:
        if (
            runs
            and not any(split[between] != 1 for between in range(runs[-1][-1] + 1, axis))
            and (axis > runs[-1][-1])
        ):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    by_source = sorted(range(len(runs)), key=lambda i: runs[i][0])
    rank = {run: place for place, run in enumerate(by_source)}
    shape = tuple(prod(split[axis] for axis in runs[i]) for i in by_source)
    return (shape or (1,)), (tuple(rank[i] for i in range(len(runs))) or (0,))


_SIDE = re.compile(r"\s*(?:(\()|(\))|([A-Za-z_]\w*)|(1(?!\w))|(\S+))")


def parse_rearrange(pattern: str, sizes: Mapping[str, Size] = MappingProxyType({})) -> Rearrange:
    """Read an einops pattern that neither reduces nor repeats; raise OpError."""
    if pattern.count("->") != 1:
        raise OpError(f"{pattern!r} needs one '->' between what comes in and what goes out")
    texts = pattern.split("->")
    left, right = (_parse_side(text, pattern) for text in texts)
    names = [[axis for group in side for axis in group] for side in (left, right)]
    for text, side in zip(texts, names, strict=True):
        repeated = sorted({axis for axis in side if side.count(axis) > 1})
        if repeated:
            raise OpError(f"axis {repeated[0]!r} stands twice in {text.strip()!r}")
    lone = sorted(set(names[0]) ^ set(names[1]))
    if lone:
        raise OpError(f"axis {lone[0]!r} is on one side of {pattern!r} only")
    strange = sorted(set(sizes) - set(names[0]))
    if strange:
        raise OpError(f"sizes name {strange[0]!r}, no axis of {pattern!r}")
    return Rearrange(left, right, tuple(sizes.items()))


def _parse_side(text: str, pattern: str) -> tuple[Group, ...]:
    groups: list[Group] = []
    inside: list[str] | None = None
    for token in _SIDE.finditer(text.rstrip()):
        opening, closing, name, one, other = token.groups()
        if other or (opening and inside is not None) or (closing and inside is None):
            raise OpError(f"cannot read {token[0].strip()!r} in {pattern!r}")
        if opening:
            inside = []
        elif closing:
            groups.append(tuple(inside or ()))
            inside = None
        elif inside is None:
            groups.append(() if one else (name,))
        elif name:
            inside.append(name)
    if inside is not None:
        raise OpError(f"a bracket is not closed in {pattern!r}")
    return tuple(groups)


def fuse(first: Permutation, second: Permutation) -> Permutation | None:
    """Return the one permutation that does `first`, then `second`.

    None where no single split into axes expresses both: 2·3 and then 3·2 of the same six.
    """
    middle = tuple(first[0][axis] for axis in first[1])
    cuts = _common_cuts(middle, second[0])
    if cuts is None:
        return None
    lengths, of_first, of_second = cuts
    names = list(range(len(lengths)))
    source = [n for axis in range(len(first[0])) for n in names if first[1][of_first[n]] == axis]
    target = [n for axis in second[1] for n in names if of_second[n] == axis]
    split = tuple(lengths[n] for n in source)
    return simplify(split, tuple(source.index(n) for n in target))


def _common_cuts(left: Shape, right: Shape) -> tuple[list[int], list[int], list[int]] | None:
    """Cut one flat length wherever either shape cuts it: lengths, and the axis each belongs to."""
    if 0 in (*left, *right) or prod(left) != prod(right):
        return None
    lengths: list[int] = []
    owners: tuple[list[int], list[int]] = ([], [])
    rest_left, rest_right = list(left), list(right)
    i = j = 0
    while i < len(left) and j < len(right):
        small, large = sorted((rest_left[i], rest_right[j]))
        if large % small:
            return None
        lengths.append(small)
        owners[0].append(i)
        owners[1].append(j)
        rest_left[i] //= small
        rest_right[j] //= small
        i += rest_left[i] == 1
        j += rest_right[j] == 1
    return lengths, owners[0], owners[1]
