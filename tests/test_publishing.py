"""Whole or not at all: whatever happens while a file is written, its name never lies."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from portkit.errors import PortkitError
from portkit.formats import copying, open_reader, open_writer
from portkit.formats.copying import copy_extent
from portkit.formats.protocols import Layout
from portkit.formats.publishing import publishing
from portkit.tensors import DType, Extent, TensorSpec

SPEC = TensorSpec("w", (2, 3), DType.F32)
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
SUFFIXES = (".safetensors", ".pth", ".npz")


def write(path, **options):
    with open_writer(path, Layout((SPEC,), {}), **options) as writer:
        writer.write("w", ARRAY)


def complaint(path, **options):
    with pytest.raises(PortkitError) as caught:
        write(path, **options)
    return str(caught.value).replace(f"{path.parent}{os.sep}", "")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"w{request.param}"


# --- what is there already ------------------------------------------------------------------------


def test_nothing_but_the_file_remains(path):
    write(path)
    assert names(path.parent) == [path.name]


def test_an_existing_file_is_kept(path):
    path.write_text("mine")
    assert complaint(path) == f"{path.name}: already exists\n  fix: use --force to replace it"
    assert (names(path.parent), path.read_text()) == ([path.name], "mine")


def test_an_existing_file_is_replaced_by_force(path):
    path.write_text("mine")
    write(path, force=True)
    assert names(path.parent) == [path.name]
    with open_reader(path) as reader:
        assert dict(reader.specs) == {"w": SPEC}


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "w"
    with pytest.raises(PortkitError) as caught, publishing(path) as partial:
        partial.write_text("ours") and path.write_text("theirs")
    assert str(caught.value) == f"{path}: already exists\n  fix: use --force to replace it"
    assert (names(tmp_path), path.read_text()) == (["w"], "theirs")


def test_a_file_system_without_links_is_written_too(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write(path)
    assert names(path.parent) == [path.name]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "real").write_text("mine")
    (tmp_path / "w.pth").symlink_to("real")
    write(tmp_path / "w.pth", force=True)
    assert (tmp_path / "real").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_kept(path, force):
    path.mkdir()
    assert complaint(path, force=force) == f"{path.name}: is a folder\n  fix: name a file"
    assert names(path.parent) == [path.name]


def test_a_missing_folder_is_named(path):
    missing = path.parent / "none" / path.name
    assert complaint(missing) == (
        f"{path.name}: cannot be written: there is no folder {missing.parent}"
    )


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "none").write_text("a file")
    assert complaint(tmp_path / "none" / "w.pth") == (
        "w.pth: cannot be written: Not a directory"
    )  # fmt: skip


# --- what goes wrong ------------------------------------------------------------------------------

FAILURES = {
    errno.EACCES: "cannot be written: {} is read-only",
    errno.EROFS: "cannot be written: {} is read-only",
    errno.ENOSPC: "cannot be written: the disk is full",
    errno.EDQUOT: "cannot be written: the disk is full",
    errno.EIO: "cannot be written: Input/output error",
}


@pytest.mark.parametrize("number", FAILURES)
@pytest.mark.parametrize("kept", [False, True], ids=["new", "replaced"])
def test_a_failing_write_leaves_what_was_there(path, monkeypatch, number, kept):
    if kept:
        path.write_text("mine")
    before = names(path.parent)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copying, "_write_some", fail)
    words = FAILURES[number].format(path.parent)
    assert complaint(path, force=kept) == f"{path.name}: {words}"
    assert names(path.parent) == before
    assert not kept or path.read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_named(path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint(path) == f"{path.name}: cannot be written: {path.parent} is read-only"
    assert names(path.parent) == []


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, PortkitError])
def test_leaving_early_leaves_nothing(path, kind):
    def leave(writer):
        writer.write("w", ARRAY)
        raise kind(())

    with pytest.raises(kind), open_writer(path, Layout((SPEC,), {})) as writer:
        leave(writer)
    assert names(path.parent) == []


KILLED = """
import sys
from pathlib import Path
import numpy as np
from portkit.formats import open_writer
from portkit.formats.protocols import Layout
from portkit.tensors import DType, TensorSpec

specs = tuple(TensorSpec(name, (2, 3), DType.F32) for name in "ab")
layout = Layout(specs, {}, shard_bytes=int(sys.argv[2]))
with open_writer(Path(sys.argv[1]), layout, force=True) as writer:
    writer.write("a", np.ones((2, 3), np.float32))
    print("half", flush=True)
    sys.stdin.read()
"""


def killed_half_way(path, shard_bytes=0):
    command = [sys.executable, "-c", KILLED, str(path), str(shard_bytes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def visible(folder):
    return [name for name in names(folder) if not name.startswith(".")]


def test_a_kill_leaves_nothing_under_the_name(path):
    killed_half_way(path)
    assert visible(path.parent) == []
    write(path)  # and what is left of it is in nobody's way
    assert visible(path.parent) == [path.name]


def test_a_kill_leaves_the_file_that_was_there(path):
    write(path)
    before = path.read_bytes()
    killed_half_way(path)
    assert (visible(path.parent), path.read_bytes()) == ([path.name], before)


def test_a_kill_leaves_no_shard(tmp_path):
    killed_half_way(tmp_path / "w.safetensors", shard_bytes=24)
    assert visible(tmp_path) == []


# --- copying --------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 20_000)  # more than a plain copy holds at once
    return path


def copied(source, target, nbytes=5_000_000):
    with target.open("w+b", buffering=0) as out:
        copy_extent(Extent(source, 100, nbytes), out.fileno(), 7)
    return target.read_bytes()


def expected(source, nbytes=5_000_000):
    return bytes(7) + source.read_bytes()[100 : 100 + nbytes]


def test_extents_are_copied_by_the_kernel(source, tmp_path):
    assert copied(source, tmp_path / "out") == expected(source)


@pytest.mark.parametrize(
    "number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM]
)
@pytest.mark.parametrize("calls_that_work", [0, 2])
def test_what_the_kernel_refuses_is_copied_plainly(
    source, tmp_path, monkeypatch, number, calls_that_work
):
    real, calls = os.copy_file_range, []

    def refuse(one, other, count, *places):
        calls.append(count)
        if len(calls) > calls_that_work:
            raise OSError(number, os.strerror(number))
        return real(one, other, min(count, 1000), *places)

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert copied(source, tmp_path / "out") == expected(source)
    assert len(calls) == calls_that_work + 1


def test_a_system_without_the_call_copies_plainly(source, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range")
    assert copied(source, tmp_path / "out") == expected(source)


@pytest.mark.parametrize("missing", ["preadv", "pwrite"])
def test_a_system_without_positioned_calls_seeks(tmp_path, monkeypatch, missing):
    monkeypatch.delattr(os, missing)
    call = copying._portable(missing)  # noqa: SLF001
    with (tmp_path / "f").open("w+b", buffering=0) as file:
        file.write(b"0123456789")
        buffer = memoryview(bytearray(b"abcd"))
        assert call(file.fileno(), buffer, 3) == 4
        found = bytes(buffer) if missing == "preadv" else (tmp_path / "f").read_bytes()
    assert found == (b"3456" if missing == "preadv" else b"012abcd789")


def test_a_failing_disk_is_no_reason_to_copy_plainly(source, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(OSError, match="Input/output error"):
        copied(source, tmp_path / "out")


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_source_that_became_short_is_named(source, tmp_path, monkeypatch, in_kernel):
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    with pytest.raises(PortkitError) as caught:
        copied(source, tmp_path / "out", 5_120_000)
    assert str(caught.value) == f"{source}: ends 100 bytes before its tensors do"


def test_a_source_that_went_away_is_named(path):
    gone = path.parent / "gone"
    with pytest.raises(PortkitError) as caught, open_writer(path, Layout((SPEC,), {})) as writer:
        writer.write("w", Extent(gone, 0, 24))
    assert str(caught.value) == f"{gone}: cannot be read: No such file or directory"
    assert names(path.parent) == []
