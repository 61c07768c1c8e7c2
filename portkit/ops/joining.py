"""Joining tensors and taking them apart, evenly or not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError, Size, one_shape, size_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


@dataclass(frozen=True, slots=True)
class Concat:
    """Join tensors along one axis; the lengths are written down, so it can be undone unevenly."""

    axis: str | int
    sizes: tuple[Size, ...]

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"concat {'+'.join(map(str, self.sizes))} on {self.axis}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Concat, Frame]":
        axis = frame.axis(self.axis)
        sizes = tuple(size_of(size, symbols) for size in self.sizes)
        found = tuple(shape[axis] for shape in frame.shapes)
        if found != sizes:
            raise OpError(f"{self} joins lengths {list(sizes)}, found {list(found)}")
        rests = {shape[:axis] + shape[axis + 1 :] for shape in frame.shapes}
        if len(rests) != 1 or len(set(frame.dtypes)) != 1:
            forms = ", ".join(
                f"{d}{list(s)}" for d, s in zip(frame.dtypes, frame.shapes, strict=True)
            )
            raise OpError(f"{self} needs tensors alike on every other axis, found {forms}")
        first = frame.shapes[0]
        joined = (*first[:axis], sum(sizes), *first[axis + 1 :])
        return Concat(axis, sizes), replace(frame, shapes=(joined,), dtypes=frame.dtypes[:1])

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        return (np.concatenate(arrays, axis=int(self.axis)),)

    def inverse(self) -> "Split":
        return Split(self.axis, self.sizes)


@dataclass(frozen=True, slots=True)
class Split:
    """Cut one tensor along one axis into pieces of written-down lengths."""

    axis: str | int
    sizes: tuple[Size, ...]

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"split {'+'.join(map(str, self.sizes))} on {self.axis}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Split, Frame]":
        if len(frame.shapes) != 1:
            raise OpError(f"{self} takes one tensor, found {len(frame.shapes)}")
        shape, axis = frame.shapes[0], frame.axis(self.axis)
        sizes = tuple(size_of(size, symbols) for size in self.sizes)
        if sum(sizes) != shape[axis]:
            raise OpError(f"{self} makes {sum(sizes)} in all, found {shape[axis]} in {list(shape)}")
        pieces = tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)
        return Split(axis, sizes), replace(frame, shapes=pieces, dtypes=frame.dtypes * len(pieces))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        ends = np.cumsum([int(size) for size in self.sizes])[:-1]
        return tuple(np.split(arrays[0], ends, axis=int(self.axis)))

    def inverse(self) -> Concat:
        return Concat(self.axis, self.sizes)


@dataclass(frozen=True, slots=True)
class Stack:
    """Lay `count` tensors of one shape side by side along a new leading axis."""

    count: int

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"stack {self.count}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Stack, Frame]":
        del symbols
        shape = one_shape(frame, "stack")
        if len(frame.shapes) != self.count or len(set(frame.dtypes)) != 1:
            raise OpError(
                f"{self} needs {self.count} tensors of one dtype, found {list(frame.dtypes)}"
            )
        return self, replace(
            frame,
            shapes=((self.count, *shape),),
            dtypes=frame.dtypes[:1],
            axes=self.rename(frame.axes),
        )

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return ("stack", *axes) if axes else ()

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        return (np.stack(arrays),)

    def inverse(self) -> "Unstack":
        return Unstack(self.count)


@dataclass(frozen=True, slots=True)
class Unstack:
    """Take a tensor apart along its leading axis."""

    count: int

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"unstack {self.count}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Unstack, Frame]":
        del symbols
        if len(frame.shapes) != 1 or frame.shapes[0][:1] != (self.count,):
            found = ", ".join(str(list(shape)) for shape in frame.shapes)
            raise OpError(f"{self} takes one tensor of {self.count} on axis 0, found {found}")
        return self, replace(
            frame,
            shapes=(frame.shapes[0][1:],) * self.count,
            dtypes=frame.dtypes * self.count,
            axes=self.rename(frame.axes),
        )

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes[1:]

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(arrays[0])

    def inverse(self) -> Stack:
        return Stack(self.count)


@dataclass(frozen=True, slots=True)
class Pick:
    """Keep one of the tensors that a chain makes: a plan's step makes one target."""

    place: int

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"piece {self.place}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Pick, Frame]":
        del symbols
        chosen = slice(self.place, self.place + 1)
        return self, replace(frame, shapes=frame.shapes[chosen], dtypes=frame.dtypes[chosen])

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return (arrays[self.place],)

    def inverse(self) -> None:
        return None
