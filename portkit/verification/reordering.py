"""What a step does to the order of things: input channels, flattened axes, classes."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from portkit.ops import Add, Cast, FoldBatchnorm, FoldNormalization, Pick, Rearrange, Scale
from portkit.ops.rearranging import Permutation, simplify
from portkit.planning import Step

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_IN_PLACE = (Add, Cast, FoldBatchnorm, FoldNormalization, Scale)  # these change values, not places
_COMPUTES = (Add, FoldNormalization, Scale)


def owner_of(tensor: str) -> str:
    """Return the module that a tensor belongs to."""
    return tensor.rpartition(".")[0]


def is_computed(step: Step) -> bool:
    """Say whether a step makes other values for other inputs, and not only other places."""
    return any(isinstance(op, _COMPUTES) for op in step.ops)


def channels_moved(step: Step) -> str:
    """Return what becomes of a first layer's input channels: kept, reversed, mixed."""
    shape = step.sources[_weight(step)].shape
    numbers = np.arange(prod(shape)).reshape(shape)
    moved = _moved(step, numbers)
    if moved.shape != shape or len(shape) < 2:
        return "mixed"
    if np.array_equal(moved, numbers):
        return "kept"
    return "reversed" if np.array_equal(moved, numbers[:, ::-1]) else "mixed"


def rows_kept(step: Step) -> bool:
    """Say whether a last layer's rows, one a class, stay as many and in their order."""
    shape = step.sources[_weight(step)].shape
    rows = np.arange(shape[0])
    numbers = np.broadcast_to(rows.reshape(-1, *[1] * (len(shape) - 1)), shape)
    moved = _moved(step, numbers)
    return bool(
        moved.ndim > 0
        and moved.shape[0] == len(rows)
        and (moved.reshape(len(rows), -1) == rows[:, None]).all()
    )


def flattened_in(step: Step, source: str, target: str) -> tuple[bool, str]:
    """Say whether a step turns one order of flattened axes into the other, and in words."""
    stated = f"stated {source} in the source, {target} in the target"
    found = step.permutation
    if found is None:
        return False, f"{'; '.join(map(str, step.ops))}: cannot be told, {stated}"
    if source == target:
        kept = len(found[1]) == 1
        return kept, f"flattened axes {'kept' if kept else 'reordered'}, {stated}"
    sizes = _sizes_of(step)
    if sizes is None:
        return False, f"flattened axes kept, or the sizes of c, h and w not given, {stated}"
    whole = step.sources[0].size // prod(sizes.values())
    wanted: Permutation = simplify(
        (whole, *(sizes[axis] for axis in source.split())),
        (0, *(1 + source.split().index(axis) for axis in target.split())),
    )
    fits = found == wanted
    return fits, f"flattened axes {'reordered as' if fits else 'not reordered as'} {stated}"


def _sizes_of(step: Step) -> dict[str, int] | None:
    """Return the lengths of c, h and w: as an op names them, or of the kernel that comes out."""
    for op in step.ops:
        if isinstance(op, Rearrange) and {"c", "h", "w"} <= dict(op.sizes).keys():
            return {axis: int(dict(op.sizes)[axis]) for axis in ("c", "h", "w")}
    if len(step.target.shape) == 4:
        return dict(zip(("c", "h", "w"), step.target.shape[1:], strict=True))
    return None


def _weight(step: Step) -> int:
    """Return which of a step's sources stands in its target's place."""
    for op in step.ops:
        if isinstance(op, FoldBatchnorm | FoldNormalization):
            role = "weight" if len(step.target.shape) > 1 else "bias"
            return op.takes.index(role) if role in op.takes else 0
    return 0


def _moved(step: Step, numbers: "Array") -> "Array":
    """Send element numbers through the ops that move elements."""
    arrays: tuple[Array, ...] = (numbers,)
    for op in step.ops:
        if not isinstance(op, (*_IN_PLACE, Pick)) and len(arrays) == 1:
            arrays = op.apply(arrays)
    return arrays[0]
