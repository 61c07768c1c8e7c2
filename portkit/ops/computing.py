"""Arithmetic on values: in float64, every operation in a written-down order, rounded once.

IEEE 754 defines each of these results to the last bit, so that even what is computed can be
computed again and compared bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from portkit.ops.base import Frame, Kind, OpError, one_shape
from portkit.tensors import DType

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

COMPUTES = (DType.F16, DType.F32, DType.F64)
Factor = float | tuple[float, ...]  # one number, or one for each entry of an axis


def refuse_uncomputable(frame: Frame, op: str) -> DType:
    """Return the one float dtype that all tensors have; raise OpError."""
    if len(set(frame.dtypes)) != 1:
        found = ", ".join(frame.dtypes) or "no tensor"
        raise OpError(f"{op} needs tensors of one dtype, found {found}")
    if frame.dtypes[0] not in COMPUTES:
        raise OpError(f"{op} computes on {', '.join(COMPUTES)}, found {frame.dtypes[0]}: cast it")
    return frame.dtypes[0]


def round_once(array: "Array", like: "Array") -> "Array":
    """Round float64 values to the dtype of `like`; raise OpError where they do not fit."""
    import numpy as np

    with np.errstate(over="ignore"):
        rounded: Array = array.astype(like.dtype)
    if np.isfinite(array).all() and not np.isfinite(rounded).all():
        raise OpError(f"values up to {np.abs(array).max():.3g} do not fit {like.dtype}")
    return rounded


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiply by a number, or by one for each entry of an axis.

    Written `{scale: {by: 0.5}}` or `{scale: {axis: in, by: [0.229, 0.224, 0.225]}}`.
    """

    by: Factor
    axis: str | int | None = None

    @property
    def kind(self) -> Kind:
        return Kind.COMPUTED

    def __str__(self) -> str:
        return f"scale by {_shown(self.by, self.axis)}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Scale, Frame]":
        del symbols
        refuse_uncomputable(frame, "scale")
        return Scale(self.by, _bound_axis(self.by, self.axis, frame, "scale")), frame

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(
            round_once(a.astype("f8") * along(self.by, self.axis, a.ndim), a) for a in arrays
        )

    def inverse(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Add:
    """Add a number, or one for each entry of an axis.

    Written `{add: {by: -1}}` or `{add: {axis: out, by: [103.939, 116.779, 123.68]}}`.
    """

    by: Factor
    axis: str | int | None = None

    @property
    def kind(self) -> Kind:
        return Kind.COMPUTED

    def __str__(self) -> str:
        return f"add {_shown(self.by, self.axis)}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Add, Frame]":
        del symbols
        refuse_uncomputable(frame, "add")
        return Add(self.by, _bound_axis(self.by, self.axis, frame, "add")), frame

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(
            round_once(a.astype("f8") + along(self.by, self.axis, a.ndim), a) for a in arrays
        )

    def inverse(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Sum:
    """Add up the entries of an axis, first to last; the axis is gone. Written `{sum: in}`."""

    axis: str | int

    @property
    def kind(self) -> Kind:
        return Kind.LOSSY

    def __str__(self) -> str:
        return f"sum over {self.axis}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Sum, Frame]":
        del symbols
        axis, left = _without_axis(self.axis, frame, "sum")
        return Sum(axis), left

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in axes if name != self.axis)

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(round_once(_total(a, int(self.axis)), a) for a in arrays)

    def inverse(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Mean:
    """Average the entries of an axis: their sum, divided once. Written `{mean: in}`."""

    axis: str | int

    @property
    def kind(self) -> Kind:
        return Kind.LOSSY

    def __str__(self) -> str:
        return f"mean over {self.axis}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Mean, Frame]":
        del symbols
        axis, left = _without_axis(self.axis, frame, "mean")
        return Mean(axis), left

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in axes if name != self.axis)

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        axis = int(self.axis)
        return tuple(round_once(_total(a, axis) / a.shape[axis], a) for a in arrays)

    def inverse(self) -> None:
        return None


def parse_factor(op: "type[Scale | Add]", argument: Mapping[str, Any]) -> "Scale | Add":
    """Read `by:` and, where it is a list, the `axis:` that it runs along; raise OpError."""
    by, axis = argument["by"], argument.get("axis")
    if isinstance(by, tuple) != (axis is not None):
        raise OpError("`by:` is one number, or a list along an `axis:`")
    return op(by, axis)


def along(by: Factor, axis: str | int | None, rank: int) -> "Array":
    """Return a factor as it meets an array of this rank."""
    import numpy as np

    factor = np.array(by, "f8")
    if axis is None:
        return factor
    return factor.reshape([-1 if i == int(axis) else 1 for i in range(rank)])


def _bound_axis(by: Factor, axis: str | int | None, frame: Frame, op: str) -> int | None:
    if axis is None or not isinstance(by, tuple):
        return None
    shape, place = one_shape(frame, op), frame.axis(axis)
    if shape[place] != len(by):
        raise OpError(f"{op} has {len(by)} numbers for {shape[place]} entries of {axis}")
    return place


def _without_axis(axis: str | int, frame: Frame, op: str) -> tuple[int, Frame]:
    refuse_uncomputable(frame, op)
    shape, place = one_shape(frame, op), frame.axis(axis)
    if shape[place] == 0:
        raise OpError(f"{op} over {axis} of {list(shape)} has nothing to add up")
    left = (*shape[:place], *shape[place + 1 :])
    names = tuple(name for i, name in enumerate(frame.axes) if i != place)
    return place, replace(frame, shapes=(left,) * len(frame.shapes), axes=names)


def _total(array: "Array", axis: int) -> "Array":
    import numpy as np

    total: Array = reduce(add, np.moveaxis(array.astype("f8"), axis, 0))
    return np.asarray(total)


def _shown(by: Factor, axis: str | int | None) -> str:
    if not isinstance(by, tuple):
        return f"{by:.17g}"
    numbers = ", ".join(f"{number:.17g}" for number in by[:4])
    return f"[{numbers}{', …' if len(by) > 4 else ''}] on {axis}"
