"""The ladder: rungs from cheap to dear, stopping at the first that fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.endpoints import open_weights
from portkit.porting import Port
from portkit.progress import SILENT, Progress
from portkit.verification.bits import check_bits
from portkit.verification.coverage import check_coverage
from portkit.verification.jobs import Job, refuse_options, why_not_run
from portkit.verification.results import NOT_ASKED, RUNGS, Options, RungResult, Status, Verification

if TYPE_CHECKING:
    from torch import nn

_DEFAULT = Options()


def verify_port(
    port: Port, artifact: Path, options: Options = _DEFAULT, progress: Progress = SILENT
) -> Verification:
    """Climb the ladder for a ported file; a failed comparison is a result, never an exception.

    Raise PortkitError where nothing can be found out: no such rung, a model that does not run.
    """
    refuse_options(options)
    job = Job(port, artifact, options, progress)
    results: list[RungResult] = []
    for result in _climb(job):
        results.append(result)
        if result.status is Status.FAILED:
            break
    done = {result.rung for result in results}
    left = [f"{rung}: an earlier rung failed" for rung in job.wanted if rung not in done]
    return Verification(
        artifact=str(artifact),
        source=str(port.source),
        target=port.target.reference.model or port.plan.route[-1],
        rungs=tuple(results),
        not_checked=(*left, *_beyond(job, done)),
    )


def _climb(job: Job) -> Iterator[RungResult]:
    why_not = why_not_run(job.port)
    skeletons = None if why_not else _skeletons(job)
    with open_weights(job.port.source) as reader:
        if "coverage" in job.wanted:
            yield check_coverage(job.port, reader.specs, job.artifact, skeletons)
        if "bits" in job.wanted:
            yield check_bits(job.port.plan, reader, job.artifact, job.progress)
    if skeletons is None:
        yield from (RungResult(rung, Status.NOT_CHECKED, why_not) for rung in job.running)
    elif job.running:
        from portkit.verification.functions import run_rungs

        yield from run_rungs(job, skeletons[0])


def _skeletons(job: Job) -> "tuple[nn.Module, nn.Module] | None":
    """Return both models without their weights, where a rung asks for their settings."""
    if not job.running and "coverage" not in job.wanted:
        return None
    from portkit.runners.torch import skeleton

    return skeleton(job.port.source).eval(), skeleton(job.port.target).eval()


def _beyond(job: Job, done: set[str]) -> Iterator[str]:
    """Say what a verification is no evidence for."""
    missing = [rung for rung in RUNGS if rung not in job.wanted]
    if missing:
        yield f"{', '.join(missing)}{NOT_ASKED}"
    why_not = why_not_run(job.port)
    if why_not:
        yield f"both models' configuration and what they compute: {why_not}"
    elif done & set(job.running):
        from portkit.verification.battery import choose_sizes

        yield choose_sizes(job.port.plan, job.port.source, job.options.input_size).left_out
    yield "accuracy: no labelled images were given"
    if job.options.quick and job.running:
        yield "batches of more than 2 inputs, most real images: --quick"
    made = [step.target.name for step in job.port.plan.made if step.target.dtype.is_float]
    if made:
        more = f" and {len(made) - 1} more" if len(made) > 1 else ""
        yield f"{made[0]}{more}: made anew, there is no source to compare with"
    before = job.port.source.provenance
    if before and before.initialised:
        yield f"{len(before.initialised)} tensors that were made when the source was ported"
