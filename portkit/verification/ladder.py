"""The ladder: rungs from cheap to dear, stopping at the first that fails."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

from portkit.porting import Port
from portkit.progress import SILENT, Progress
from portkit.verification.bits import check_bits
from portkit.verification.coverage import check_coverage
from portkit.verification.jobs import Job, refuse_options, why_not_run
from portkit.verification.results import (
    NOT_ASKED,
    RUNGS,
    Options,
    RungResult,
    Status,
    Verification,
)
from portkit.verification.sides import refuse_itself, side_of, written_side

_DEFAULT = Options()


def verify_port(
    port: Port, artifact: Path, options: Options = _DEFAULT, progress: Progress = SILENT
) -> Verification:
    """Climb the ladder for a ported file; a failed comparison is a result, never an exception.

    Raise PortkitError where nothing can be found out: no such rung, a model that does not run.
    """
    refuse_options(options)
    sides = side_of(port.source), written_side(port.target, artifact)
    return verify_job(Job(port.plan, *sides, options, progress))


def verify_job(job: Job) -> Verification:
    """Climb the ladder for two sides and the plan between them; raise PortkitError as above."""
    refuse_options(job.options)
    refuse_itself(job.source, job.target)
    results: list[RungResult] = []
    started = perf_counter()
    for result in _climb(job):
        now = perf_counter()
        results.append(replace(result, seconds=now - started))
        started = now
    return Verification(
        artifact=str(job.target),
        source=str(job.source.endpoint),
        target=job.target.endpoint.reference.model or job.plan.route[-1],
        rungs=tuple(results),
        not_checked=tuple(_left_out(job, results)),
        environment=_environment(job),
    )


def _climb(job: Job) -> Iterator[RungResult]:
    """Yield rung after rung; after a failure only the layers rung, which names the culprit."""
    why_not = why_not_run(job.source.endpoint, job.target.endpoint)
    failed = False
    for result in _compare_tensors(job, models=not why_not):
        yield result
        failed = result.status is Status.FAILED
        if failed:
            break
    if why_not:
        if not failed:
            yield from (RungResult(rung, Status.NOT_CHECKED, why_not) for rung in job.running)
    elif job.running:
        from portkit.verification.functions import name_culprits, run_rungs

        yield from name_culprits(job) if failed else run_rungs(job)


def _compare_tensors(job: Job, *, models: bool) -> Iterator[RungResult]:
    with job.source.open() as reader:
        if "coverage" in job.wanted:
            yield check_coverage(job, reader.specs, models=models)
        if "bits" in job.wanted:
            with job.target.open() as written:
                yield check_bits(job.plan, reader, written, job.progress)


def _left_out(job: Job, results: list[RungResult]) -> Iterator[str]:
    """Say what a verification is no evidence for."""
    done = {result.rung for result in results}
    if any(result.status is Status.FAILED for result in results):
        open_rungs = [r for r in job.wanted if r not in done and (r in job.running or r == "bits")]
        if open_rungs:
            yield f"{', '.join(open_rungs)}: an earlier rung failed"
    not_asked = [rung for rung in RUNGS if rung not in (*job.wanted, *done)]
    if not_asked:
        why = ": --quick" if job.options.quick and not job.options.rungs else NOT_ASKED
        yield f"{', '.join(not_asked)}{why}"
    why_not = why_not_run(job.source.endpoint, job.target.endpoint)
    if why_not:
        yield f"both models' configuration and what they compute: {why_not}"
    yield from dict.fromkeys(words for result in results for words in result.left_out)
    if job.options.data is None:
        yield "decisions and accuracy: no images were given (--data)"
    if job.options.quick and job.running:
        yield "batches of more than 2 inputs, most real images: --quick"
    yield from _made_anew(job)


def _made_anew(job: Job) -> Iterator[str]:
    made = [step.target.name for step in job.plan.made if step.target.dtype.is_float]
    if made:
        more = f" and {len(made) - 1} more" if len(made) > 1 else ""
        yield f"{made[0]}{more}: made anew, there is no source to compare with"
    before = job.source.endpoint.provenance
    if before and before.initialised:
        yield f"{len(before.initialised)} tensors that were made when the source was ported"


def _environment(job: Job) -> Mapping[str, str]:
    """Return where models ran and how, where any did."""
    if not job.running or why_not_run(job.source.endpoint, job.target.endpoint):
        return MappingProxyType({})
    from portkit.runners.devices import describe_device

    return MappingProxyType(describe_device(job.options.device))
