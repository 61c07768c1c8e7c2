"""Grouped convolutions as dense ones: blocks on the diagonal, zeros beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError, Size, one_shape, size_of
from portkit.ops.padding import as_bits

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


@dataclass(frozen=True, slots=True)
class BlockDiagonal:
    """Spread a grouped weight `[out, in/groups, …]` over a dense one `[out, in, …]`.

    Written `{block_diagonal: 2}`, the number of groups; undone by `diagonal_blocks`.
    """

    groups: Size

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"block diagonal of {self.groups}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[BlockDiagonal, Frame]":
        shape, groups = one_shape(frame, "block_diagonal"), size_of(self.groups, symbols)
        if groups < 1 or len(shape) < 2 or shape[0] % groups:
            raise OpError(f"{list(shape)} cannot be {groups} groups of [out, in, …]")
        dense = (shape[0], shape[1] * groups, *shape[2:])
        return BlockDiagonal(groups), replace(frame, shapes=(dense,) * len(frame.shapes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(self._spread(array) for array in arrays)

    def _spread(self, array: "Array") -> "Array":
        import numpy as np

        groups = int(self.groups)
        rows, columns = array.shape[0] // groups, array.shape[1]
        dense = np.zeros((array.shape[0], columns * groups, *array.shape[2:]), array.dtype)
        for group in range(groups):
            band = slice(group * rows, (group + 1) * rows)
            dense[band, group * columns : (group + 1) * columns] = array[band]
        return dense

    def inverse(self) -> "DiagonalBlocks":
        return DiagonalBlocks(self.groups)


@dataclass(frozen=True, slots=True)
class DiagonalBlocks:
    """Keep the diagonal blocks of a dense weight `[out, in, …]`: the grouped one.

    Written `{diagonal_blocks: 2}`. A weight with anything but zeros beside them is refused.
    """

    groups: Size

    @property
    def kind(self) -> Kind:
        return Kind.EXACT

    def __str__(self) -> str:
        return f"diagonal blocks of {self.groups}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[DiagonalBlocks, Frame]":
        shape, groups = one_shape(frame, "diagonal_blocks"), size_of(self.groups, symbols)
        if groups < 1 or len(shape) < 2 or shape[0] % groups or shape[1] % groups:
            raise OpError(f"{list(shape)} has no {groups} blocks on its diagonal")
        grouped = (shape[0], shape[1] // groups, *shape[2:])
        return DiagonalBlocks(groups), replace(frame, shapes=(grouped,) * len(frame.shapes))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        return tuple(self._gather(array) for array in arrays)

    def _gather(self, array: "Array") -> "Array":
        import numpy as np

        groups = int(self.groups)
        rows, columns = array.shape[0] // groups, array.shape[1] // groups
        blocks = [
            array[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)
        ]
        gathered: Array = np.concatenate(blocks)
        lost = int(np.count_nonzero(as_bits(array))) - int(np.count_nonzero(as_bits(gathered)))
        if lost:
            raise OpError(f"{self} would lose {lost} values beside them that are not zero")
        return gathered

    def inverse(self) -> BlockDiagonal:
        return BlockDiagonal(self.groups)
