"""Whole or not at all: a file appears complete under its name, or nothing does."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portkit.errors import PortkitError


@contextmanager
def publishing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a partial path to write to; rename it to `path` when the block ends well.

    Raise PortkitError where `path` exists (and not `force`), cannot be made, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        _refuse_taken(path, force=force)
        yield partial
        _publish(partial, path, force=force)
    except OSError as error:
        raise PortkitError.at(path, _reason(error, path)) from error
    finally:
        with suppress(OSError):  # such as a folder that went away: what went wrong is said already
            partial.unlink(missing_ok=True)


def _refuse_taken(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise PortkitError.at(path, "is a folder", "name a file")
    if path.exists() and not force:
        raise PortkitError.at(path, "already exists", "use --force to replace it")


def _publish(partial: Path, path: Path, *, force: bool) -> None:
    if force:
        os.replace(partial, path)
        return
    try:
        os.link(partial, path)  # unlike rename, refuses a name that appeared meanwhile
    except FileExistsError:
        raise PortkitError.at(path, "already exists", "use --force to replace it") from None
    except OSError:  # a file system without hard links
        os.replace(partial, path)


def _reason(error: OSError, path: Path) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"cannot be written: there is no folder {path.parent}"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"cannot be written: {path.parent} is read-only"
        case errno.ENOSPC | errno.EDQUOT:
            return "cannot be written: the disk is full"
        case _:
            return f"cannot be written: {error.strerror or error}"
