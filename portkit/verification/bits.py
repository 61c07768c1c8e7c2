"""The bits rung: the file as written, re-read, each step done again another way. No tolerance.

Steps that only reinterpret are compared as runs of bytes. Everything else is recomputed with einops
from the source, by code that the conversion does not use.
"""

import json
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portkit import formats
from portkit.errors import PortkitError
from portkit.formats import as_array
from portkit.formats.copying import read_at
from portkit.formats.protocols import Reader
from portkit.ops import Rearrange
from portkit.planning import Plan, Step
from portkit.progress import Progress
from portkit.tensors import DType, Extent, Specs, TensorSpec
from portkit.verification.results import Check, RungResult, rung_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_CHUNK = 1 << 18  # bytes of either file compared at once, in buffers that stay in the cache


@contextmanager
def open_artifact(path: Path) -> Iterator[Reader]:
    """Open a file independently of the code that wrote it, where its format is simple enough."""
    if path.suffix == ".safetensors":
        yield _PlainReader.of(path)
        return
    with formats.open_reader(path) as reader:
        yield reader


@dataclass(frozen=True, slots=True)
class _PlainReader:
    """A safetensors file read straight off its specification."""

    path: Path
    specs: Specs
    metadata: dict[str, str]
    places: dict[str, Extent]

    @classmethod
    def of(cls, path: Path) -> "_PlainReader":
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        specs, places = {}, {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            specs[name] = TensorSpec(name, tuple(entry["shape"]), DType(entry["dtype"]))
            places[name] = Extent(path, 8 + length + begin, end - begin)
        return cls(path, specs, metadata, places)

    def fetch(self, name: str) -> Extent:
        return self.places[name]


def check_bits(plan: Plan, source: Reader, artifact: Path, progress: Progress) -> RungResult:
    """Compare every target tensor with what the plan makes of the source."""
    checks = []
    total = sum(step.target.nbytes for step in plan.steps)
    progress.start("comparing bits", total)
    try:
        with open_artifact(artifact) as target:
            for step in plan.steps:
                if step.target.name in target.specs:
                    checks.append(_check_step(step, source, target))
                progress.advance(step.target.nbytes)
    finally:
        progress.finish()
    right = sum(check.passed for check in checks)
    summary = f"{right} of {len(plan.steps)} tensors, {total:,} bytes, are what the plan says"
    return rung_of("bits", checks, summary)


def _check_step(step: Step, source: Reader, target: Reader) -> Check:
    name = step.target.name
    found = target.specs[name]
    if (found.shape, found.dtype) != (step.target.shape, step.target.dtype):
        return Check(name, passed=False, what=f"{found.form}, the plan says {step.target.form}")
    got = target.fetch(name)
    want = source.fetch(step.sources[0].name) if step.reinterprets else None
    if isinstance(got, Extent) and isinstance(want, Extent) and same_bytes(got, want):
        return Check(name, passed=True, what=f"{step.target.form}, bit for bit")
    expected = recompute(step, source)
    return compare_bits(step, as_array(got, found), expected, source)


def same_bytes(one: Extent, other: Extent) -> bool:
    """Compare two runs of bytes through two small buffers."""
    if one.nbytes != other.nbytes:
        return False
    raw = (bytearray(_CHUNK), bytearray(_CHUNK))
    files = [os.open(extent.path, os.O_RDONLY) for extent in (one, other)]
    try:
        for start in range(0, one.nbytes, _CHUNK):
            size = min(_CHUNK, one.nbytes - start)
            for file, buffer, extent in zip(files, raw, (one, other), strict=True):
                if read_at(file, memoryview(buffer)[:size], extent.offset + start) != size:
                    raise PortkitError.at(extent.path, "became shorter while it was read")
            if size < _CHUNK:
                raw = (raw[0][:size], raw[1][:size])
            if raw[0] != raw[1]:
                return False
    finally:
        for file in files:
            os.close(file)
    return True


def recompute(step: Step, source: Reader) -> "Array":
    """Return what a step makes, by einops where it rearranges and op by op where it does not."""
    import numpy as np

    arrays = tuple(as_array(source.fetch(spec.name), spec) for spec in step.sources)
    for op in step.ops:
        if isinstance(op, Rearrange):
            arrays = tuple(_by_einops(op, array) for array in arrays)
        else:
            arrays = op.apply(arrays)
    made: Array = np.ascontiguousarray(arrays[0]).reshape(step.target.shape)
    return made


def _by_einops(op: Rearrange, array: "Array") -> "Array":
    import einops

    sizes = {axis: int(size) for axis, size in op.sizes}
    with warnings.catch_warnings():  # einops discourages axes that are keywords, such as `in`
        warnings.simplefilter("ignore", RuntimeWarning)
        moved: Array = einops.rearrange(array, op.pattern, **sizes)
    return moved


def compare_bits(step: Step, got: "Array", want: "Array", source: Reader) -> Check:
    """Count the elements whose bits differ; NaN payloads and negative zeros count."""
    import numpy as np

    width = f"u{step.target.dtype.itemsize}"
    ours, theirs = (np.ascontiguousarray(a).reshape(-1).view(width) for a in (got, want))
    unequal = ours != theirs
    wrong = int(np.count_nonzero(unequal))
    name = step.target.name
    if not wrong:
        return Check(name, passed=True, what=f"{step.target.form}, bit for bit")
    at = tuple(int(i) for i in np.unravel_index(int(unequal.argmax()), step.target.shape))
    what = f"{wrong} of {ours.size} elements differ, first at {list(at)}"
    from portkit.verification.diagnosis import explain_bits

    cause = explain_bits(step, got, want, source)
    words = f"{what}: {cause}" if cause else what
    return Check(name, passed=False, what=words, numbers={"wrong": float(wrong)})
