"""From two references to a job: which tensors correspond, by provenance, mapping or inference."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.counterparts import port_between, port_of, port_through
from portkit.endpoints import resolve_source
from portkit.errors import PortkitError, Problem
from portkit.formats.publishing import publishing
from portkit.mapping import parse_mapping
from portkit.porting import Port
from portkit.progress import SILENT, Progress
from portkit.references import parse_reference
from portkit.verification.jobs import Job, refuse_options, why_not_run
from portkit.verification.results import Options
from portkit.verification.sides import Side, refuse_itself, side_of, written_side

if TYPE_CHECKING:
    from portkit.formats.protocols import Array
    from portkit.pairing import Inferred

_INFERRED = "the inferred pairing"  # how complaints name a mapping that nobody has written
_DEFAULT = Options()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified, in the user's words."""

    target: str
    against: str | None = None
    mapping: str | Path | None = None
    save_mapping: Path | None = None  # where an inferred mapping is written to


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job, and the pairing that it rests on where that had to be inferred."""

    job: Job
    inferred: "Inferred | None" = None


def prepare_job(asked: Asked, options: Options = _DEFAULT, progress: Progress = SILENT) -> Prepared:
    """Find both sides and the plan between them; raise PortkitError."""
    refuse_options(options)
    if not parse_reference(asked.target).scheme and "#" not in asked.target:
        path = Path(asked.target)
        port = port_of(path, asked.against, asked.mapping)
        return Prepared(_job(port, written_side(port.target, path), options, progress))
    if asked.against is None:
        raise PortkitError.at(asked.target, "is a reference", "name its source with --against")
    known = port_between(asked.target, asked.against, asked.mapping)
    if known is not None:
        return Prepared(_job(known, side_of(known.target), options, progress))
    return _infer(asked, options, progress)


def _job(port: Port, target: Side, options: Options, progress: Progress) -> Job:
    return Job(port.plan, side_of(port.source), target, options, progress, port.plan.notes)


def _infer(asked: Asked, options: Options, progress: Progress) -> Prepared:
    """Pair two models of which one at least is the user's own, by running them both."""
    start, end = resolve_source(str(asked.against)), resolve_source(asked.target)
    why_not = why_not_run(start, end)
    if why_not:
        what = f"no mapping leads here from {start}, and none can be inferred: {why_not}"
        raise PortkitError.at(str(end), what, "name a mapping with --mapping")
    source, target = side_of(start), side_of(end)
    refuse_itself(source, target)
    from portkit.pairing import infer_mapping

    inferred = infer_mapping(source, target, _sample(source, options))
    if asked.save_mapping is not None:
        with publishing(asked.save_mapping) as partial:
            partial.write_text(inferred.text, encoding="utf-8")
    try:
        port = port_through(parse_mapping(inferred.text, _INFERRED), start, end)
    except PortkitError as error:
        fix = "write a draft with --save-mapping FILE, complete it, and name it with --mapping"
        what = "does not account for every tensor"
        raise PortkitError((*error.problems, Problem(_INFERRED, what, fix))) from error
    notes = (_about(inferred), *map(str, inferred.ambiguous), *inferred.notes, *port.plan.notes)
    return Prepared(Job(port.plan, source, target, options, progress, notes), inferred)


def _sample(source: Side, options: Options) -> "Array":
    """Return two inputs that a model takes, as its first layer tells."""
    from portkit.verification.battery import guess_inputs, sample, training_size

    size = options.input_size or (training_size(source.endpoint),) * 2
    inputs = guess_inputs(source.skeleton(), (size,))
    if inputs is None:
        what = "its first layer is neither a convolution nor linear: what it takes is not known"
        raise PortkitError.at(str(source.endpoint), what, "name a mapping with --mapping")
    return sample(inputs)


def _about(inferred: "Inferred") -> str:
    unsure = f", {len(inferred.ambiguous)} of them ambiguous" if inferred.ambiguous else ""
    return f"the pairing of {len(inferred.pairs)} tensors was inferred{unsure}: no mapping says so"
