"""The rungs that run both models, each model built once and fed from one battery."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from portkit.errors import PortkitError
from portkit.planning import Plan
from portkit.runners.devices import fixed_arithmetic, refuse_device
from portkit.verification.battery import (
    Batch,
    Trial,
    choose_sizes,
    count_forwards,
    exact_batches,
    guess_inputs,
    larger_size,
    make_batches,
    make_trials,
    noise,
)
from portkit.verification.dense import check_dense, find_head, find_map, not_dense
from portkit.verification.forcing import Trace, force_source, force_target, record_trace
from portkit.verification.jobs import Job
from portkit.verification.judging import FOLDED, STRUCTURE, WITHOUT_EXACT
from portkit.verification.layers import check_layers, check_layers_exactly
from portkit.verification.outputs import check_outputs
from portkit.verification.results import RungResult, Status
from portkit.verification.running import (
    Model,
    Pair,
    RunError,
    refuse_chance,
    refuse_constant,
    refuse_infinite,
    refuse_shared,
)
from portkit.verification.structure import check_structure

if TYPE_CHECKING:
    from portkit.verification.battery import Inputs


@dataclass(frozen=True, slots=True)
class Stage:
    """A job with its models and all that they are fed."""

    job: Job
    pair: Pair
    batches: tuple[Batch, ...]
    exact: tuple[Batch, ...]  # those that both answer in float64
    trials: tuple[Trial, ...]
    larger: Batch | None  # for score maps; None for models that take no images
    gate: float  # in float64, a share of the largest value

    @property
    def wanted(self) -> tuple[str, ...]:
        return self.job.running

    @property
    def plan(self) -> Plan:
        return self.job.plan

    @property
    def traced(self) -> Batch:
        return self.exact[-1]


def run_rungs(job: Job) -> Iterator[RungResult]:
    """Yield the rungs that run models, as far as they are asked for; raise PortkitError."""
    with _staged(job) as stage:
        trace: Trace | None = None
        for result in _compare_exactly(stage):
            yield result
            if result.status is Status.FAILED:
                yield _name_culprits(stage)
                return
        if "layers" in stage.wanted:
            trace = record_trace(stage.pair, stage.traced, stage.plan, _reference(stage.pair))
        yield from _compare_as_deployed(stage, trace)


def name_culprits(job: Job) -> Iterator[RungResult]:
    """Yield the layers rung alone, where an earlier rung has failed."""
    try:
        with _staged(job) as stage:
            yield _name_culprits(stage)
    except PortkitError as error:
        why_not = f"the models cannot be compared: {error.problems[0].what}"
        yield RungResult("layers", Status.NOT_CHECKED, why_not)


@contextmanager
def _staged(job: Job) -> Iterator[Stage]:
    """Build what is needed, and turn a source that cannot be run into a complaint."""
    refuse_device(job.options.device)
    with ExitStack() as stack:
        stack.callback(job.progress.finish)
        stack.enter_context(fixed_arithmetic())
        stack.enter_context(_explaining(job))
        stage = _set(job)
        forwards = count_forwards(stage.batches, stage.trials, job.running)
        job.progress.start("running models", forwards, "inputs")
        yield stage


@contextmanager
def _explaining(job: Job) -> Iterator[None]:
    """Say what to do about a source that cannot be run: then there is nothing to compare with."""
    try:
        yield
    except RunError as error:
        fix = "name the size that it takes with --input-size"
        raise PortkitError.at(str(job.source.endpoint), f"cannot run {error}", fix) from error


def _set(job: Job) -> Stage:
    device = job.options.device
    source, target = (Model(side.build, job.progress, device) for side in (job.source, job.target))
    pair = Pair(source, target)
    inputs, larger = _inputs(job, pair)
    batches = make_batches(inputs, quick=job.options.quick)
    exact = exact_batches(batches)
    pair = _try_exact(pair, exact[-1])
    dtype = _reference(pair)
    refuse_shared(source.module(dtype), target.module(dtype))
    refuse_chance(source, exact[-1], dtype, str(job.source.endpoint))
    batches = refuse_infinite(source, batches, exact, (dtype, str(job.source.endpoint)))
    trials = make_trials(batches, quick=job.options.quick)
    gate = FOLDED if any(step.kind == "computed" for step in job.plan.steps) else STRUCTURE
    exact = exact_batches(batches)
    return Stage(job, pair, batches, exact, trials, larger, WITHOUT_EXACT if pair.inexact else gate)


def _inputs(job: Job, pair: Pair) -> "tuple[Inputs, Batch | None]":
    """Return what the source takes, told by its first layer, and a larger image; raise."""
    endpoint = job.source.endpoint
    sizes = choose_sizes(job.plan, endpoint, job.options.input_size)
    inputs = guess_inputs(job.source.skeleton(), sizes.tried)
    if inputs is None:
        what = "its first layer is neither a convolution nor linear: what it takes is not known"
        fix = "verify what needs no inputs: --rungs coverage,bits"
        raise PortkitError.at(str(endpoint), what, fix)
    if inputs.features:
        return inputs, None
    random = np.random.default_rng(1)
    taken = [
        size
        for place, size in enumerate(sizes.tried)
        if place < sizes.certain
        or _takes(pair, Batch("noise", noise(random, inputs.channels, size)[None]))
    ]
    larger = Batch("noise", noise(random, inputs.channels, larger_size(sizes))[None])
    return replace(inputs, sizes=tuple(taken)), larger


def _takes(pair: Pair, batch: Batch) -> bool:
    """Say whether the source runs on a size that nobody has promised."""
    try:
        pair.source.answer(batch, torch.float32)
    except RunError:
        return False
    return True


def _try_exact(pair: Pair, batch: Batch) -> Pair:
    """Find out whether the source runs in float64; raise RunError where it does not run at all."""
    try:
        pair.source.answer(batch, torch.float64)
    except RunError as error:
        pair.source.answer(batch, torch.float32)
        return replace(pair, inexact=f"the source cannot run in float64 ({error})")
    return pair


def _reference(pair: Pair) -> torch.dtype:
    return torch.float32 if pair.inexact else torch.float64


def _compare_exactly(stage: Stage) -> Iterator[RungResult]:
    """Yield the rungs in float64."""
    pair, tolerances = stage.pair, stage.job.options.tolerances
    if "structure" in stage.wanted:
        yield check_structure(pair, stage.exact, tolerances, stage.gate)
    if "dense" in stage.wanted:
        yield _compare_densely(stage)


def _compare_densely(stage: Stage) -> RungResult:
    pair = stage.pair
    if pair.inexact:
        return not_dense(pair.inexact, applies=True)
    if stage.larger is None or not find_map(pair, stage.traced):
        return not_dense("the port answers as its source does, not with a map", applies=False)
    trace = record_trace(pair, stage.traced, stage.plan, torch.float64)
    head = find_head(pair, trace)
    if head is None:
        why = "no layer of the source answers the feature map that its head is given"
        return not_dense(why, applies=True)
    try:
        return check_dense(pair, head, stage.larger, stage.job.options.tolerances)
    except RuntimeError as error:
        return not_dense(f"the source's head cannot be run on windows: {error}", applies=True)


def _name_culprits(stage: Stage) -> RungResult:
    """Judge every layer by itself, without rounding where that can be."""
    dtype = _reference(stage.pair)
    trace = record_trace(stage.pair, stage.traced, stage.plan, dtype)
    found = force_target(stage.pair, trace, dtype, stage.gate)
    return check_layers_exactly(found, stage.gate)


def _compare_as_deployed(stage: Stage, trace: Trace | None) -> Iterator[RungResult]:
    """Yield the rungs in float32, after the source has answered all that it will in float64."""
    pair, options = stage.pair, stage.job.options
    refuse_constant([pair.source.answer(b, _reference(pair)) for b in stage.exact], "the source")
    if "outputs" in stage.wanted and not pair.inexact:
        pair.target.round()
        for batch in stage.batches:
            pair.source.answer(batch, torch.float64)
    if trace is not None:
        own = force_source(pair, trace, torch.float32)
        found = force_target(pair, trace, torch.float32)
        yield (
            check_layers(own, found)
            if not pair.inexact
            else check_layers_exactly(found, stage.gate)
        )
    if "outputs" in stage.wanted:
        yield check_outputs(pair, stage.trials, options.tolerances)
