"""What every op offers, and what flows between two of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from portkit.tensors import DType, Shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


class Kind(StrEnum):
    """What an op does to the elements, from harmless to new."""

    EXACT = "exact"  # bit for bit, and it can be undone
    COMPUTED = "computed"  # float arithmetic
    LOSSY = "lossy"  # some elements or bits are left out
    MADE = "made"  # new data


class OpError(ValueError):
    """An op that does not fit the tensors it meets; its text is the complaint."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The tensors between two ops: their shapes and dtypes, and what their axes are called."""

    shapes: tuple[Shape, ...]
    dtypes: tuple[DType, ...]
    axes: tuple[str, ...] = ()

    def axis(self, name: "str | int") -> int:
        """Return the number of the axis called `name`; raise OpError."""
        if isinstance(name, int):
            return name
        if name in self.axes:
            return self.axes.index(name)
        known = f"they are called {' '.join(self.axes)}" if self.axes else "give them with `axes:`"
        raise OpError(f"no axis is called {name!r}: {known}")


class Op(Protocol):
    """One step of a chain. `apply` and `inverse` are meant for bound ops."""

    @property
    def kind(self) -> Kind: ...

    def bind(self, frame: Frame, symbols: Mapping[str, int], /) -> "tuple[Op, Frame]":
        """Return this op with numbers for names, and what comes out; raise OpError."""
        ...

    def rename(self, axes: tuple[str, ...], /) -> tuple[str, ...]:
        """Return what the axes are called after this op."""
        ...

    def apply(self, arrays: "tuple[Array, ...]", /) -> "tuple[Array, ...]": ...

    def inverse(self) -> "Op | None":
        """Return the op that undoes this one, or None where nothing can."""
        ...


Size = int | str  # a number, or a parameter of the model such as `pooled`


def size_of(value: Size, symbols: Mapping[str, int]) -> int:
    """Return the number that a written size stands for; raise OpError."""
    if isinstance(value, int):
        return value
    if value in symbols:
        return symbols[value]
    known = ", ".join(sorted(symbols)) or "none"
    raise OpError(f"{value!r} is no parameter of this model, known: {known}")


def one_shape(frame: Frame, op: str) -> Shape:
    """Return the one shape that all tensors of the frame have."""
    if len(set(frame.shapes)) != 1:
        shapes = ", ".join(str(list(shape)) for shape in frame.shapes)
        raise OpError(f"{op} needs tensors of one shape, found {shapes}")
    return frame.shapes[0]
