"""Which rearrangements turn one tensor into another, given what both are used for."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from portkit.ops import Frame, OpError, Rearrange, parse_rearrange
from portkit.pairing.roles import ELEMENTWISE
from portkit.pairing.values import Relation, Use
from portkit.tensors import DType, Shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_DENSE = ("conv", "linear")  # a fully connected layer is a convolution of the whole map


def relate_uses(source: Use, target: Use) -> Relation | None:
    """Return how a use's tensor becomes another's; None where it cannot."""
    families = {source.family, target.family}
    alike = len(families) == 1 or families <= set(_DENSE) or ELEMENTWISE in families
    if source.role != target.role or not alike:
        return None
    if source.axes and target.axes and source.role == "kernel":
        return _relation(_kernel_ops(source, target), source.shape, target.shape)
    return relate_shapes(source.shape, target.shape)


def relate_shapes(source: Shape, target: Shape) -> Relation | None:
    """Return how a tensor of one shape becomes one of another that only has other axes of 1."""
    if source == target:
        return Relation((None,))
    if [n for n in source if n != 1] != [n for n in target if n != 1]:
        return None
    return _relation([(_ones(source, target), {})], source, target)


def _ones(source: Shape, target: Shape) -> str:
    """Write a pattern between shapes that are alike but for axes of 1."""
    names = iter("abcdefgh")
    long = {place: next(names) for place, n in enumerate(source) if n != 1}
    left = " ".join(long.get(place, "1") for place in range(len(source)))
    kept = iter(long.values())
    right = " ".join("1" if n == 1 else next(kept) for n in target)
    return f"{left} -> {right}"


def _relation(
    written: "list[tuple[str, Mapping[str, int]]]", source: Shape, target: Shape
) -> Relation | None:
    """Keep what really turns one shape into the other."""
    ops: list[Rearrange | None] = []
    for pattern, sizes in written:
        try:
            op = parse_rearrange(pattern, sizes) if pattern else None
            shape = op.bind(Frame((source,), (DType.F32,)), {})[1].shapes[0] if op else source
        except OpError:
            continue
        if shape == target and op not in ops:
            ops.append(op)
    return Relation(tuple(ops)) if ops else None


def _kernel_ops(source: Use, target: Use) -> "list[tuple[str, Mapping[str, int]]]":
    """Write every pattern between two kernels whose axes are known."""
    if source.axes == target.axes:
        return [("", {})]
    taken, given = (dict(zip(use.axes, use.shape, strict=True)) for use in (source, target))
    space: list[str] = [axis for axis in ("d", "h", "w") if axis in (*taken, *given)]
    lone = [axis for axis in space if (axis in taken) != (axis in given)]
    if not lone:
        return [(f"{' '.join(source.axes)} -> {' '.join(target.axes)}", {})]
    wide = {axis: {**taken, **given}[axis] for axis in lone if {**taken, **given}[axis] != 1}
    return list(_flattened(source.axes, target.axes, lone, wide))


def _flattened(
    source: tuple[str, ...], target: tuple[str, ...], lone: list[str], wide: Mapping[str, int]
) -> "Iterator[tuple[str, Mapping[str, int]]]":
    """Write patterns between a kernel and one without space: channels first, then channels last."""
    space = " ".join(wide)
    for merged in (f"(in {space})", f"({space} in)"):
        sides = []
        for axes in (source, target):
            flat = not any(axis in axes for axis in lone)
            names = [merged if flat and wide and a == "in" else a for a in axes]
            sides.append(" ".join("1" if a in lone and a not in wide else a for a in names))
        yield f"{sides[0]} -> {sides[1]}", dict(wide)
        if not wide:
            return


def rearranged(array: "Array", op: Rearrange | None) -> "Array":
    """Return a tensor's values as an unbound rearrangement leaves them."""
    if op is None:
        return array
    bound, _ = op.bind(Frame((array.shape,), (DType.F32,)), {})
    (made,) = bound.apply((array,))
    return made
