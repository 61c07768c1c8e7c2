"""The rungs that run both models, each model built once and fed from one battery."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from portkit.errors import PortkitError
from portkit.runners.devices import fixed_arithmetic, refuse_device
from portkit.verification.adapting import adapt_inputs
from portkit.verification.battery import (
    Batch,
    Inputs,
    Size,
    Sizes,
    Trial,
    choose_sizes,
    count_forwards,
    exact_batches,
    guess_inputs,
    larger_size,
    make_batches,
    make_trials,
    noise,
    sizes_near,
)
from portkit.verification.dense import check_dense, find_head, find_map, not_dense
from portkit.verification.forcing import Trace, force_source, force_target, record_trace
from portkit.verification.images import (
    Images,
    compare_on_images,
    count_piped,
    open_images,
)
from portkit.verification.jobs import Job
from portkit.verification.judging import FOLDED, STRUCTURE, WITHOUT_EXACT
from portkit.verification.layers import blame_precision, check_layers, check_layers_exactly
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


@dataclass(frozen=True, slots=True)
class Stage:
    """A job with its models and all that they are fed."""

    job: Job
    pair: Pair
    batches: tuple[Batch, ...]
    exact: tuple[Batch, ...]  # those that both answer in float64
    trials: tuple[Trial, ...]
    larger: Batch | None  # for score maps; None for models that take no images
    trace: Trace  # the source's run on the last of the exact ones
    gate: float  # in float64, a share of the largest value
    images: Images | None  # for the rungs that look at them
    left_out: str  # sizes that were not tried

    @property
    def wanted(self) -> tuple[str, ...]:
        return self.job.running


@dataclass(frozen=True, slots=True)
class _Fed:
    """What the models of a job are fed."""

    inputs: Inputs
    batches: tuple[Batch, ...]
    larger: Batch | None
    left_out: str  # sizes that were not tried

    @property
    def exact(self) -> tuple[Batch, ...]:
        return exact_batches(self.batches)


def run_rungs(job: Job) -> Iterator[RungResult]:
    """Yield the rungs that run models, as far as they are asked for; raise PortkitError."""
    with open_stage(job) as stage:
        for result in _compare_exactly(stage):
            yield replace(result, left_out=(*result.left_out, stage.left_out))
            if result.status is Status.FAILED:
                yield blame_layers(stage)
                return
        for result in _compare_as_deployed(stage):
            yield replace(result, left_out=(*result.left_out, stage.left_out))
            if result.status is Status.FAILED:
                return


def name_culprits(job: Job) -> Iterator[RungResult]:
    """Yield the layers rung alone, where an earlier rung has failed."""
    try:
        with open_stage(job) as stage:
            yield blame_layers(stage)
    except PortkitError as error:
        why_not = f"the models cannot be compared: {error.problems[0].what}"
        yield RungResult("layers", Status.NOT_CHECKED, why_not)


@contextmanager
def open_stage(job: Job) -> Iterator[Stage]:
    """Build what is needed, and turn a source that cannot be run into a complaint."""
    refuse_device(job.options.device)
    with ExitStack() as stack:
        stack.callback(job.progress.finish)
        stack.enter_context(fixed_arithmetic())
        stack.enter_context(_explaining(job))
        yield _set(job)


@contextmanager
def _explaining(job: Job) -> Iterator[None]:
    """Say what to do about a source that cannot be run: then there is nothing to compare with."""
    try:
        yield
    except RunError as error:
        fix = "name the size that it takes with --input-size"
        if isinstance(error.__cause__, PortkitError):  # it ran, and there is no use for its answer
            fix = error.__cause__.problems[0].fix
        raise PortkitError.at(str(job.source.endpoint), f"cannot run {error}", fix) from error


def _set(job: Job) -> Stage:
    device, where = job.options.device, str(job.source.endpoint)
    source = Model(job.source.build, job.progress, device)
    target = Model(job.target.build, job.progress, device, adapt_inputs(job.plan.facts))
    pair = Pair(source, target)
    fed = _feed(job, pair)
    pair = _try_exact(pair, fed.exact[-1])
    dtype = _reference(pair)
    refuse_shared(source.module(dtype), target.module(dtype))
    trace = record_trace(pair, fed.exact[-1], job.plan, dtype)
    refuse_chance((source.answer(fed.exact[-1], dtype), trace.outputs), trace.batch, where)
    batches = refuse_infinite(source, fed.batches, fed.exact, (dtype, where))
    gate = FOLDED if any(step.kind == "computed" for step in job.plan.steps) else STRUCTURE
    return Stage(
        job=job,
        pair=pair,
        batches=batches,
        exact=exact_batches(batches),
        trials=make_trials(batches, quick=job.options.quick),
        larger=fed.larger,
        trace=trace,
        gate=WITHOUT_EXACT if pair.inexact else gate,
        images=open_images(job, fed.inputs, _count_classes(trace)),
        left_out=fed.left_out,
    )


def _count_classes(trace: Trace) -> int:
    """Return how many classes a source answers, 0 where that is not what it does."""
    shapes = [value.shape for value in trace.outputs.values()]
    return shapes[0][1] if len(shapes) == 1 and len(shapes[0]) in (2, 4) else 0


def _feed(job: Job, pair: Pair) -> _Fed:
    """Make what the source takes, as its first layer tells, and a larger image; raise."""
    quick = job.options.quick
    sizes = choose_sizes(job.plan, job.source.endpoint, job.options.input_size)
    inputs = guess_inputs(job.source.skeleton(), sizes.tried)
    if inputs is None:
        what = "its first layer is neither a convolution nor linear: what it takes is not known"
        fix = "verify what needs no inputs: --rungs coverage,bits"
        raise PortkitError.at(str(job.source.endpoint), what, fix)
    forwards = count_forwards(make_batches(inputs, quick=quick), sizes, job.running, quick=quick)
    forwards += 3 * count_piped(job, inputs)
    job.progress.start("running models", forwards, "inputs")
    if inputs.features:
        return _Fed(inputs, make_batches(inputs, quick=quick), None, sizes.left_out)
    taken, left_out = _try_sizes(pair, sizes, inputs.channels)
    random = np.random.default_rng(1)
    larger = Batch("noise", noise(random, inputs.channels, larger_size(sizes))[None])
    inputs = replace(inputs, sizes=taken)
    return _Fed(inputs, make_batches(inputs, quick=quick), larger, left_out)


def _try_sizes(pair: Pair, sizes: Sizes, channels: int) -> tuple[tuple[Size, ...], str]:
    """Return the sizes that make sense, and what that leaves out.

    A model that takes one of them only is tried with others: multiples of its stride, nearer ones.
    """
    random = np.random.default_rng(1)
    refused: dict[str, list[Size]] = {}

    def choose(some: tuple[Size, ...]) -> Iterator[Size]:
        for size in some:
            why_not = _why_not(pair, Batch("noise", noise(random, channels, size)[None]))
            if why_not:
                refused.setdefault(why_not, []).append(size)
            else:
                yield size

    sure = sizes.tried[: sizes.certain]
    taken = (*sure, *choose(sizes.tried[sizes.certain :]))
    if taken == sizes.tried:
        return taken, sizes.left_out
    if len(taken) == 1:
        taken = (*taken, *choose(sizes_near(taken[0])))
    whys = "; ".join(f"{_listed(some)}: {why}" for why, some in refused.items())
    return taken, f"images of other sizes than {_listed(taken)} px ({whys})"


def _listed(sizes: Iterable[Size]) -> str:
    return ", ".join(f"{height}×{width}" for height, width in sizes)


def _why_not(pair: Pair, batch: Batch) -> str:
    """Say why a size that nobody has promised makes no sense: the source must run on it.

    Nor has anybody promised what a score map says of it in place of one answer: that is a question
    for the dense rung.
    """
    try:
        dtype = torch.float64
        ours = pair.source.answer(batch, dtype)
    except RunError:
        try:
            dtype = torch.float32
            ours = pair.source.answer(batch, dtype)
        except RunError:
            return "the source does not run on them"
    try:
        theirs = pair.target.answer(batch, dtype)
    except RunError:
        return ""  # and a failure, when it comes to that
    names = ours.keys() & theirs.keys()
    maps = any(
        ours[name].ndim == 2 and theirs[name].ndim == 4 and theirs[name].shape[2:] != (1, 1)
        for name in names
    )
    return "the port answers with a score map there" if maps else ""


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
    if stage.larger is None or not find_map(pair, stage.trace, stage.larger, _reference(pair)):
        return not_dense("the port answers as its source does, not with a map", applies=False)
    if pair.inexact:
        return not_dense(pair.inexact, applies=True)
    head = find_head(pair, stage.trace)
    if head is None:
        why = "no layer of the source answers the feature map that its head is given"
        return not_dense(why, applies=True)
    try:
        return check_dense(pair, head, stage.larger, stage.job.options.tolerances, stage.gate)
    except RuntimeError as error:
        return not_dense(f"the source's head cannot be run on windows: {error}", applies=True)


def blame_layers(stage: Stage) -> RungResult:
    """Judge every layer by itself, without rounding where that can be."""
    pair = stage.pair
    rounding = pair.source.casts or pair.target.casts
    gate = max(stage.gate, WITHOUT_EXACT) if rounding else stage.gate
    found = force_target(pair, stage.trace, _reference(pair), gate)
    return check_layers_exactly(found, gate)


def _compare_as_deployed(stage: Stage) -> Iterator[RungResult]:
    """Yield the rungs in float32, after the source has answered all that it will in float64."""
    pair, options = stage.pair, stage.job.options
    refuse_constant([pair.source.answer(b, _reference(pair)) for b in stage.exact], "the source")
    if "outputs" in stage.wanted and not pair.inexact:
        pair.target.round()
        for batch in stage.batches:
            pair.source.answer(batch, torch.float64)
    piped = stage.images.batch if stage.images and "pipeline" in stage.wanted else None
    if piped is not None and not pair.inexact:
        pair.source.answer(piped, torch.float64)
    if "layers" in stage.wanted:
        yield compare_layers(stage)
    if "outputs" in stage.wanted:
        yield check_outputs(pair, stage.trials, options.tolerances)
    if stage.images is not None:
        answered = stage.batches if "outputs" in stage.wanted else stage.exact
        yield from compare_on_images(stage.job, pair, stage.images, answered)


def compare_layers(stage: Stage) -> RungResult:
    """Judge every layer in float32, and say of what differs only there that rounding does it."""
    pair = stage.pair
    if pair.inexact:
        return blame_layers(stage)
    found = force_target(pair, stage.trace, torch.float32)
    met = tuple(cut for cut in stage.trace.cuts if cut.target in found.units)
    own = force_source(pair, replace(stage.trace, cuts=met), torch.float32)
    result = check_layers(own, found, stage.job.options.tolerances.rho)
    if result.status is not Status.FAILED:
        return result
    exact = blame_layers(stage)
    return exact if exact.status is Status.FAILED else blame_precision(result)
