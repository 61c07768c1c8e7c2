"""What a file says of itself, held against the port it is said to come from; and what it hides."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.mapping import MAPPING_SUFFIXES
from portkit.planning import Plan, Step
from portkit.provenance import (
    Provenance,
    SourceFile,
    data_digest,
    files_of,
    header_digest,
    read_provenance,
)
from portkit.verification.jobs import Job
from portkit.verification.results import Check, Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_GLANCE = 64  # elements that are looked at before a tensor is read to its end
_NAMED = 3  # tensors named in a complaint; the rest is counted


def check_provenance(job: Job) -> list[Check]:
    """Compare a file's provenance with its source and the plan; none where it has none.

    Raise PortkitError where it has one that cannot be read. A file may be compared with another
    source than its own, or through another mapping: then its own are no evidence, which is said.
    """
    with job.target.open() as reader:
        said = read_provenance(reader.metadata, job.target)
    if said is None:
        return []
    checks = [_check_target(said, job), *_check_source(said, job)]
    own = _made_by(said, job.plan)
    checks += _check_mappings(said, job.plan, own=own)
    if own:
        made = tuple(step.target.name for step in job.plan.made)
        dropped = tuple(drop.spec.name for drop in job.plan.dropped)
        checks.append(_check_names("initialised", said.initialised, made))
        checks.append(_check_names("dropped", said.dropped, dropped))
    return checks


def _check_target(said: Provenance, job: Job) -> Check:
    model = job.target.endpoint.reference.model or job.plan.route[-1]
    what = f"made for {said.target}" + ("" if said.target == model else f", verified as {model}")
    return Check("provenance: target", passed=said.target == model, what=what)


def _check_source(said: Provenance, job: Job) -> Iterator[Check]:
    """Compare the source with what it was when it was ported, where it is the same one."""
    subject, source = "provenance: source", job.source
    if said.file is None:
        own = str(source.endpoint.reference) == said.source
        words = "" if own else f", compared with {source.endpoint}"
        yield Check(subject, passed=True, what=f"made from {said.source}{words}")
        return
    folder = job.target.path.parent if job.target.path else Path()
    if source.path is None or source.path.resolve() != (folder / said.file.path).resolve():
        what = f"made from {said.file.path}, compared with {source}"
        yield Check(subject, passed=True, what=what)
        return
    with source.open() as reader:
        changed = list(_changes(said.file, reader))
    what = f"{said.file.path}: {'; '.join(changed) or 'as it was when it was ported'}"
    yield Check(subject, passed=not changed, what=what)


def _changes(recorded: SourceFile, reader: Reader) -> Iterator[str]:
    files = files_of(reader)
    size, header = sum(path.stat().st_size for path in files), header_digest(reader.specs)
    if size != recorded.size:
        yield f"{recorded.size} bytes then, {size} now"
    if header != recorded.header:
        yield f"headers {_short(recorded.header)} then, {_short(header)} now"
    if recorded.data and size == recorded.size:
        data = data_digest(files)
        if data != recorded.data:
            yield f"data {_short(recorded.data)} then, {_short(data)} now"


def _made_by(said: Provenance, plan: Plan) -> bool:
    """Say whether a file was made by the plan's mappings: the same bytes, the same way round."""
    return [(m.digest, m.inverted) for m in said.mappings] == [
        (m.digest, m.inverted) for m in plan.mappings
    ]


def _check_mappings(said: Provenance, plan: Plan, *, own: bool) -> Iterator[Check]:
    """Find a mapping that changed since; going through another one is no fault of the file."""
    subject = "provenance: mapping"
    made = ", ".join(mapping.name for mapping in said.mappings)
    if own:
        yield Check(subject, passed=True, what=f"made by {made}, as planned")
        return
    now = {_title(mapping.name): mapping for mapping in plan.mappings}
    named = [m for m in said.mappings if _title(m.name) in now]
    changed = [m for m in named if now[_title(m.name)].digest != m.digest]
    for mapping in changed:
        digests = _short(mapping.digest), _short(now[_title(mapping.name)].digest)
        what = f"{mapping.name} changed: {digests[0]} then, {digests[1]} now; convert again"
        yield Check(subject, passed=False, what=what)
    if not changed:
        through = ", ".join(mapping.name for mapping in plan.mappings)
        yield Check(subject, passed=True, what=f"made by {made}, compared through {through}")


def _title(name: str) -> str:
    """Return a mapping's name: a file's without its folder, which depends on where one stands."""
    return Path(name).name if name.endswith(MAPPING_SUFFIXES) else name


def _check_names(key: str, said: tuple[str, ...], planned: tuple[str, ...]) -> Check:
    lacking, strange = sorted({*planned} - {*said}), sorted({*said} - {*planned})
    words = [f"{_names(lacking)} not said to be"] if lacking else []
    words += [f"{_names(strange)} said to be, but not planned"] if strange else []
    what = "; ".join(words) or f"{len(planned)} tensors, as planned"
    return Check(f"provenance: {key}", passed=not words, what=what)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _short(digest: str) -> str:
    return f"{digest[:19]}…"


def check_untouched(job: Job) -> list[Check]:
    """Find float tensors that hold one number throughout, where the plan makes others of them.

    Zeros and ones are what a model's biases, batch norms and scales start from.
    """
    with job.source.open() as source, job.target.open() as target:
        steps = [step for step in job.plan.steps if _may_be_left(step, target)]
        wrong = [check for step in steps if (check := _check_left(step, source, target))]
    what = f"{len(steps)} float tensors, none left at one number throughout"
    return wrong or ([Check("initial values", passed=True, what=what)] if steps else [])


def _may_be_left(step: Step, target: Reader) -> bool:
    found = target.specs.get(step.target.name)
    return bool(step.sources and step.target.dtype.is_float and found == step.target)


def _check_left(step: Step, source: Reader, target: Reader) -> Check | None:
    name = step.target.name
    found = as_array(target.fetch(name), step.target)
    if not _is_constant(found):
        return None
    from portkit.verification.recomputing import recompute

    given = tuple(as_array(source.fetch(spec.name), spec) for spec in step.sources)
    if _is_constant(recompute(step, given)):
        return None
    kind = _kind_of(found, step)
    what = f"holds {kind or 'one number'} throughout, its source does not"
    return Check(name, passed=False, what=what, diagnosis=Diagnosis(kind or "unrelated", what))


def _is_constant(array: "Array") -> bool:
    """Say whether all elements have the same bits; most tensors are told by a glance."""
    bits = array.reshape(-1).view(f"u{array.itemsize}")
    return bool(
        bits.size > 0 and (bits[:_GLANCE] == bits[0]).all() and (bits[_GLANCE:] == bits[0]).all()
    )


def _kind_of(array: "Array", step: Step) -> str:
    """Return `zeros` or `ones` for what a tensor holds, or nothing for another number."""
    import numpy as np

    from portkit.ops.filling import encode

    first = array.reshape(-1)[:1].tobytes()
    for kind, value in (("zeros", 0.0), ("ones", 1.0)):
        if encode(np.full(1, value, np.float32), step.target).tobytes() == first:
            return kind
    return ""
