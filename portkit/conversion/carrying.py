"""Carry out a plan: each step's bytes from the reader to the writer, one tensor at a time."""

from typing import TYPE_CHECKING

from portkit.errors import PortkitError
from portkit.formats import as_array
from portkit.formats.protocols import Buffer, Reader, Writer
from portkit.planning import Plan, Step, Tied, apply_step
from portkit.progress import SILENT, Progress
from portkit.tensors import Extent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portkit.formats.protocols import Array


def run_plan(plan: Plan, reader: Reader, writer: Writer, progress: Progress = SILENT) -> None:
    """Write every target of the plan; raise PortkitError where a tie does not hold."""
    for tied in plan.tied:
        _check_tie(tied, reader)
    progress.start("moving weights", sum(step.target.nbytes for step in plan.steps))
    try:
        for step in plan.steps:
            writer.write(step.target.name, _value_of(step, reader))
            progress.advance(step.target.nbytes)
    finally:
        progress.finish()


def _value_of(step: Step, reader: Reader) -> "Extent | Array | Iterable[Buffer]":
    """Return where the target's bytes lie or, where they have to be moved about, the bytes."""
    if step.reinterprets:
        found = reader.fetch(step.sources[0].name)
        return found if isinstance(found, Extent) else found.reshape(step.target.shape)
    arrays = tuple(as_array(reader.fetch(spec.name), spec) for spec in step.sources)
    permutation = step.permutation
    if permutation is not None:
        from portkit.conversion.bricks import permuted_slabs

        return permuted_slabs(arrays[0], permutation)
    import numpy as np

    return np.ascontiguousarray(apply_step(step, arrays)).reshape(step.target.shape)


def _check_tie(tied: Tied, reader: Reader) -> None:
    names = (tied.spec.name, tied.equals)
    one, two = (as_array(reader.fetch(name), tied.spec) for name in names)
    if one.tobytes() != two.tobytes():
        what = f"{tied.spec.name} is tied to {tied.equals}, but their bits differ"
        raise PortkitError.at(tied.where, what, "give it a rule of its own")
