"""The rungs that run both models, each model built once and fed from one battery."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from portkit.endpoints import Endpoint, FileWeights
from portkit.errors import PortkitError
from portkit.runners.torch import build_module
from portkit.verification.battery import (
    Batch,
    Inputs,
    Trial,
    choose_sizes,
    count_forwards,
    exact_batches,
    guess_inputs,
    make_batches,
    make_trials,
)
from portkit.verification.jobs import Job
from portkit.verification.outputs import check_outputs
from portkit.verification.results import RungResult
from portkit.verification.running import Model, Pair, RunError
from portkit.verification.structure import check_structure


@dataclass(frozen=True, slots=True)
class Battery:
    """All that both models are fed."""

    batches: tuple[Batch, ...]
    exact: tuple[Batch, ...]  # those that both answer in float64
    trials: tuple[Trial, ...]


def run_rungs(job: Job, skeleton: nn.Module) -> Iterator[RungResult]:
    """Yield the structure and outputs rungs, as far as they are asked for; raise PortkitError."""
    battery = _make_battery(job, skeleton)
    forwards = count_forwards(battery.batches, battery.trials, job.running)
    job.progress.start("running models", forwards, "inputs")
    try:
        with _explaining(job):
            pair = _try_exact(_pair(job), battery.exact[0])
            tolerances = job.options.tolerances
            if "structure" in job.running:
                yield check_structure(pair, battery.exact, job.port.plan, tolerances)
            if "outputs" in job.running:
                yield check_outputs(pair, battery.trials, tolerances)
    finally:
        job.progress.finish()


def _make_battery(job: Job, skeleton: nn.Module) -> Battery:
    batches = make_batches(_inputs(job, skeleton), quick=job.options.quick)
    return Battery(batches, exact_batches(batches), make_trials(batches, quick=job.options.quick))


def _inputs(job: Job, source: nn.Module) -> Inputs:
    """Return what the source takes, told by its first layer; raise PortkitError."""
    sizes = choose_sizes(job.port.plan, job.port.source, job.options.input_size)
    inputs = guess_inputs(source, sizes.tried)
    if inputs is None:
        what = "its first layer is neither a Conv2d nor a Linear: what it takes is not known"
        fix = "verify what needs no inputs: --rungs coverage,bits"
        raise PortkitError.at(str(job.port.source), what, fix)
    return inputs


@contextmanager
def _explaining(job: Job) -> Iterator[None]:
    """Turn a source that cannot be run into a complaint: then there is nothing to compare with."""
    try:
        yield
    except RunError as error:
        fix = "name the size that it takes with --input-size"
        raise PortkitError.at(str(job.port.source), f"cannot run {error}", fix) from error


def _pair(job: Job) -> Pair:
    source, target = job.port.source, job.port.target
    written = Endpoint(target.reference, target.manifest, FileWeights(job.artifact))

    def build_source(dtype: torch.dtype) -> nn.Module:
        return build_module(source, dtype)

    def build_target(dtype: torch.dtype) -> nn.Module:
        return build_module(written, dtype)

    return Pair(Model(build_source, job.progress), Model(build_target, job.progress))


def _try_exact(pair: Pair, batch: Batch) -> Pair:
    """Find out whether the source runs in float64; raise RunError where it does not run at all."""
    try:
        pair.source.answer(batch, torch.float64)
    except RunError as error:
        pair.source.answer(batch, torch.float32)
        return replace(pair, inexact=f"the source cannot run in float64 ({error})")
    return pair
