"""The bits rung: the file as written, re-read, each step done again another way. No tolerance.

Steps that only reinterpret are compared as runs of bytes. Everything else is recomputed from the
source by code that the conversion does not use.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from portkit.formats import as_array
from portkit.formats.damage import refuse_damage
from portkit.formats.protocols import Reader
from portkit.planning import Plan, Step, Tied
from portkit.progress import Progress
from portkit.tensors import Extent
from portkit.verification.rereading import is_reread, same_bytes
from portkit.verification.results import Check, RungResult, rung_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


def check_bits(plan: Plan, source: Reader, target: Reader, progress: Progress) -> RungResult:
    """Compare every target tensor with what the plan makes of the source.

    Raise PortkitError where a checksum in either file says that it is damaged.
    """
    for reader, names in ((source, _taken(plan)), (target, [s.target.name for s in plan.steps])):
        refuse_damage(reader, [name for name in names if name in reader.specs])
    checks: list[Check] = []
    progress.start("comparing bits", sum(step.target.nbytes for step in plan.steps))
    alone = target.path.is_file() and not is_reread(target)
    try:
        for step in plan.steps:
            checks.append(_check_step(step, source, target))
            progress.advance(step.target.nbytes)
    finally:
        progress.finish()
    wrong = sum(not check.passed for check in checks)
    ties = [_check_tie(tied, source) for tied in plan.tied]
    total = sum(step.target.nbytes for step in plan.steps)
    summary = f"{len(checks)} tensors, {total:,} bytes, are what the plan makes of the source"
    if wrong:
        summary = f"{wrong} of {len(checks)} tensors are not what the plan makes of the source"
    if ties:
        summary += f"; {len(ties)} ties"
    return rung_of("bits", [*checks, *ties], summary, tuple(_notes(plan, alone=alone)))


def _taken(plan: Plan) -> list[str]:
    """Return the source tensors that are read, each once."""
    tied = [name for one in plan.tied for name in (one.spec.name, one.equals)]
    return list(dict.fromkeys([*(s.name for step in plan.steps for s in step.sources), *tied]))


def _notes(plan: Plan, *, alone: bool) -> Iterator[str]:
    blind = sum(bool(step.blind) for step in plan.steps)
    if blind:
        yield f"shapes prove nothing for {blind} of {len(plan.steps)} tensors: wrong ones would fit"
    if alone:
        yield "re-read by portkit's own reader: this format has no second one"


def _check_step(step: Step, source: Reader, target: Reader) -> Check:
    name = step.target.name
    found = target.specs.get(name)
    if found is None:
        return Check(name, passed=False, what=f"{step.target.form} is missing from the file")
    if (found.shape, found.dtype) != (step.target.shape, step.target.dtype):
        return Check(name, passed=False, what=f"{found.form}, the plan says {step.target.form}")
    got = target.fetch(name)
    want = source.fetch(step.sources[0].name) if step.reinterprets else None
    if isinstance(got, Extent) and isinstance(want, Extent) and same_bytes(got, want):
        return Check(name, passed=True, what=f"{step.target.form}, bit for bit")
    return compare_bits(step, as_array(got, found), source)


def compare_bits(step: Step, got: "Array", source: Reader) -> Check:
    """Count the elements whose bits differ; NaN payloads and negative zeros count."""
    import numpy as np

    from portkit.verification.recomputing import recompute

    want = recompute(step, tuple(as_array(source.fetch(s.name), s) for s in step.sources))
    name, width = step.target.name, f"u{step.target.dtype.itemsize}"
    ours, theirs = (np.ascontiguousarray(a).reshape(-1).view(width) for a in (got, want))
    unequal = ours != theirs
    wrong = int(np.count_nonzero(unequal))
    if not wrong:
        return Check(name, passed=True, what=f"{step.target.form}, bit for bit")
    first = int(unequal.argmax())
    del unequal
    at = [int(i) for i in np.unravel_index(first, step.target.shape)]
    what = f"{wrong} of {ours.size} elements differ, first at {at}"
    from portkit.verification.diagnosis.tensors import explain_tensor

    cause = explain_tensor(step, got, want, source)
    numbers = {"wrong": float(wrong)}
    return Check(name, passed=False, what=what, numbers=numbers, diagnosis=cause)


def _check_tie(tied: Tied, source: Reader) -> Check:
    """Compare two source tensors that a mapping says are one."""
    names = (tied.spec.name, tied.equals)
    one, two = (as_array(source.fetch(name), tied.spec) for name in names)
    same = one.tobytes() == two.tobytes()
    words = "equals" if same else "is tied to, but does not equal"
    return Check(tied.spec.name, passed=same, what=f"{words} {tied.equals} bit for bit")
