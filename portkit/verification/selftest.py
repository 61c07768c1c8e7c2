"""A verifier that proves itself: faults are put into the very port, and each must be rejected.

Everything happens in memory. The source's answers are kept, so that a fault costs a run of the port
and mostly of one input; the port's weights are held once, a fault changes only what it changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from portkit.formats.protocols import Reader
from portkit.verification.adapting import adapt_inputs
from portkit.verification.bits import check_bits
from portkit.verification.coverage import check_coverage
from portkit.verification.faults import (
    FAULTS,
    Fault,
    Faulty,
    inject,
    inject_built,
    is_harmless,
    share,
)
from portkit.verification.functions import Stage, blame_layers, compare_layers, open_stage
from portkit.verification.jobs import Job
from portkit.verification.ladder import verify_job
from portkit.verification.outputs import check_outputs
from portkit.verification.results import RungResult, Status, Verification
from portkit.verification.running import Model, Pair
from portkit.verification.structure import check_structure

FEW = 20  # faults that a self-test should find a place for
_SEARCHED = 4_000_000  # elements of a net up to which the causes of function faults are looked for


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault that was put into the port, and what became of it."""

    fault: str  # its id in the catalogue
    words: str
    place: str
    rejected: bool
    rung: str  # the one that rejected it; empty where none did
    cause_found: str  # empty where none was named, or none was looked for
    cause_expected: str  # empty where the fault has no name
    also: tuple[str, ...] = ()  # causes that are true of it, too

    @property
    def named(self) -> bool:
        """Say whether the cause was named rightly."""
        return bool(self.cause_found) and self.cause_found in (self.cause_expected, *self.also)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What a port's verification makes of the port, and of the port with faults."""

    untouched: Verification
    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]  # ids of faults that have no place, or make no difference, in it

    @property
    def survivors(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if not trial.rejected)

    @property
    def passed(self) -> bool:
        """Say whether the port passes and every one of its faults is rejected."""
        return self.untouched.passed and bool(self.trials) and not self.survivors

    @property
    def few(self) -> str:
        """Say so where so few faults were tried that little is proved."""
        tried = len({trial.fault for trial in self.trials})
        return f"only {tried} of {len(FAULTS)} faults have a place in it" if tried < FEW else ""


def self_test(job: Job, seeds: tuple[int, ...] = (0,)) -> SelfTest:
    """Verify a port, then put every fault that has a place into it; raise PortkitError.

    A port that does not pass by itself proves nothing about a verifier: then no fault is tried.
    """
    quick = replace(job, options=replace(job.options, quick=True, rungs=()))
    untouched = verify_job(quick)
    if not untouched.passed:
        return SelfTest(untouched, (), ())
    trials: list[Trial] = []
    with open_stage(quick) as stage:
        bench = Bench(stage)
        for entry in FAULTS:
            for seed in seeds:
                trial = _try(bench, entry, seed)
                if trial is not None:
                    trials.append(trial)
    tried = {trial.fault for trial in trials}
    left_out = tuple(entry.id for entry in FAULTS if entry.id not in tried)
    return SelfTest(untouched, tuple(trials), left_out)


class Bench:
    """A port whose source has answered, and on which faults are tried one after another."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.dtype = torch.float32 if stage.pair.inexact else torch.float64
        self.net = stage.pair.target.module(self.dtype)
        for batch in stage.exact:
            stage.pair.source.answer(batch, self.dtype)

    @property
    def is_small(self) -> bool:
        return sum(tensor.numel() for tensor in self.net.parameters()) <= _SEARCHED

    def pair(self, entry: Fault, seed: int) -> Pair:
        """Return the source and the port with a fault in it, built when it is first run."""

        def build(dtype: torch.dtype) -> nn.Module:
            made = self._copy()
            inject(entry, made, seed)
            return made.to(dtype)

        job = self.stage.job
        adapt = adapt_inputs(job.plan.facts)
        target = Model(build, job.progress, job.options.device, adapt)
        return replace(self.stage.pair, target=target)

    def _copy(self) -> nn.Module:
        """Return the port on the same memory, or built anew where it cannot be copied."""
        try:
            return share(self.net)
        except Exception:  # whatever a user's own model may hold
            return self.stage.job.target.build(self.dtype)

    def judge(self, entry: Fault, faulty: Faulty, seed: int) -> Iterator[RungResult]:
        """Yield what each rung says that can see a fault, cheapest evidence first."""
        stage, pair = self.stage, self.pair(entry, seed)
        tolerances = stage.job.options.tolerances
        if "structure" in entry.seen_by:
            for batch in stage.exact:
                yield check_structure(pair, (batch,), tolerances, stage.gate)
        if entry.is_stored:
            yield self.compare_bits(faulty)
        else:
            yield check_outputs(pair, stage.trials, tolerances)
            with stage.job.source.open() as reader:
                job = replace(stage.job, target=faulty.side)
                yield check_coverage(job, reader.specs, models=True)

    def compare_bits(self, faulty: Faulty) -> RungResult:
        """Compare the tensors that a fault has changed."""
        job = self.stage.job
        with job.source.open() as source, faulty.side.open() as target:
            return _bits_of(job, source, target, faulty.changed)

    def find_causes(self, entry: Fault, faulty: Faulty, seed: int) -> Iterator[str]:
        """Yield the causes that a diagnosis names: the tensors' own, or those of layers."""
        if entry.is_stored and (self.is_small or len(faulty.changed) == 1):
            result = self.compare_bits(faulty)
        elif self.is_small:
            stage = replace(self.stage, pair=self.pair(entry, seed))
            at_run_time = "structure" not in entry.seen_by
            result = compare_layers(stage) if at_run_time else blame_layers(stage)
        else:
            return
        yield from (check.diagnosis.cause for check in result.failed if check.diagnosis)


def _bits_of(job: Job, source: Reader, target: Reader, changed: tuple[str, ...]) -> RungResult:
    steps = tuple(step for step in job.plan.steps if step.target.name in changed)
    return check_bits(replace(job.plan, steps=steps, tied=()), source, target, job.progress)


def _try(bench: Bench, entry: Fault, seed: int) -> Trial | None:
    """Put a fault into the port and see whether a rung rejects it; None where it has no place."""
    faulty = inject_built(bench.stage.job.target, bench.net, entry, seed)
    if faulty is None:
        return None
    rung = ""
    for result in bench.judge(entry, faulty, seed):
        if result.status is Status.FAILED:
            rung = result.rung
            break
    if not rung and is_harmless(bench.stage.job, bench.net, entry, seed):
        return None
    causes = tuple(bench.find_causes(entry, faulty, seed)) if rung and entry.cause else ()
    right = next((cause for cause in causes if cause in entry.causes), "")
    return Trial(
        fault=entry.id,
        words=entry.words,
        place=faulty.place,
        rejected=bool(rung),
        rung=rung,
        cause_found=right or next(iter(causes), ""),
        cause_expected=entry.cause,
        also=entry.also,
    )
