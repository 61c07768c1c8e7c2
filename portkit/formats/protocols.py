"""What every file format offers: all headers at once, then values one tensor at a time."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from portkit.tensors import Extent, Specs, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Buffer: TypeAlias = "bytes | bytearray | memoryview | Array"


class Reader(Protocol):
    """An open tensor file. Its specs are in file order and known before any value is read."""

    @property
    def path(self) -> Path: ...

    @property
    def specs(self) -> Specs: ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own text metadata; empty where the format has none."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of what the file also holds and `specs` leaves out, such as an epoch number."""
        ...

    def fetch(self, name: str, /) -> "Extent | Array":
        """Where the tensor's bytes lie or, where they do not lie in a row, a C-ordered array.

        Arrays have the spec's shape and `DType.carrier` as dtype.
        """
        ...


class Writer(Protocol):
    """A file being written. Its header is on disk before the first value is given."""

    def write(self, name: str, value: "Extent | Array | Iterable[Buffer]", /) -> None:
        """Write one tensor: an extent is copied by the kernel; buffers are written in a row."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """All a writer must know before the first value: tensors in file order, and metadata."""

    specs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    phase: int = 0  # where the source's data starts modulo 64 KiB; equal phases copy faster
    shard_bytes: int = 0  # 0: one file


class Format(Protocol):
    """One file format: a module with these functions implements it."""

    def open_reader(self, path: Path, /) -> AbstractContextManager[Reader]: ...

    def open_writer(self, path: Path, layout: Layout, /) -> AbstractContextManager[Writer]: ...
