"""Moving bytes between files inside the kernel, where the system can."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from portkit.errors import PortkitError
from portkit.tensors import Extent

_CHUNK = 1 << 20  # bytes a plain copy holds at once
Watch: TypeAlias = Callable[[memoryview], None]
_CANNOT = frozenset(
    (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY)
)


def copy_extent(extent: Extent, out: int, offset: int) -> None:
    """Copy an extent to `offset` of an open file; raise PortkitError where its file is short."""
    source = open_source(extent)
    try:
        copy_range(source, extent, out, offset)
    finally:
        os.close(source)


def open_source(extent: Extent) -> int:
    """Open an extent's file; raise PortkitError, lest its loss look like the output's."""
    try:
        return os.open(extent.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise PortkitError.at(extent.path, f"cannot be read: {error.strerror}") from error


def copy_range(
    source: int, extent: Extent, out: int, offset: int, watch: Watch | None = None
) -> None:
    """Copy an extent of an open file, inside the kernel unless `watch` is to see its bytes."""
    in_kernel = watch is None and hasattr(os, "copy_file_range")
    done = _in_kernel(source, extent, out, offset) if in_kernel else 0
    if done < extent.nbytes:
        _plainly(source, extent, _Sink(out, offset, watch), done)


def _in_kernel(source: int, extent: Extent, out: int, offset: int) -> int:
    """Copy what the kernel is willing to, and return how much that was."""
    done = 0
    while done < extent.nbytes:
        try:
            moved = os.copy_file_range(
                source, out, extent.nbytes - done, extent.offset + done, offset + done
            )
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if moved == 0:
            return done
        done += moved
    return done


@dataclass(frozen=True, slots=True)
class _Sink:
    """Where plain copying puts bytes, and who is shown them on the way."""

    out: int
    offset: int
    watch: Watch | None


def _plainly(source: int, extent: Extent, sink: _Sink, done: int) -> None:
    buffer = memoryview(bytearray(min(_CHUNK, extent.nbytes - done)))
    while done < extent.nbytes:
        wanted = buffer[: extent.nbytes - done]
        found = read_at(source, wanted, extent.offset + done)
        if found == 0:
            missing = extent.nbytes - done
            raise PortkitError.at(extent.path, f"ends {missing} bytes before its tensors do")
        if sink.watch is not None:
            sink.watch(buffer[:found])
        write_at(sink.out, buffer[:found], sink.offset + done)
        done += found


def _portable(call: str) -> Callable[..., int]:
    """Return `os.preadv` or `os.pwrite`, or a seek and the plain call where they are missing."""

    def seek_first(file: int, data: memoryview, offset: int) -> int:
        os.lseek(file, offset, os.SEEK_SET)
        if call == "pwrite":
            return os.write(file, data)
        found = os.read(file, len(data))
        data[: len(found)] = found
        return len(found)

    if call == "pwrite" and hasattr(os, "pwrite"):
        return os.pwrite
    if call == "preadv" and hasattr(os, "preadv"):
        return lambda file, data, offset: os.preadv(file, [data], offset)
    return partial(seek_first)


read_at = _portable("preadv")
_write_some = _portable("pwrite")


def write_at(file: int, data: "bytes | bytearray | memoryview", offset: int) -> int:
    """Write all of `data` at `offset`; return how many bytes that was."""
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += _write_some(file, view[done:], offset + done)
    return done
