"""Images for the rungs that look at them: what is drawn, how it is preprocessed, who answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from portkit.errors import PortkitError
from portkit.evaluation.callables import Way, load_callable
from portkit.evaluation.data import load_fashion, load_photos
from portkit.evaluation.folders import Dataset, open_data
from portkit.evaluation.preprocessing import Preprocessing, documented
from portkit.evaluation.sampling import Sample, draw
from portkit.verification.accuracy import check_accuracy
from portkit.verification.adapting import adapt_inputs
from portkit.verification.answering import answer_both, see_images, stack
from portkit.verification.battery import Batch, Inputs
from portkit.verification.decisions import check_decisions
from portkit.verification.jobs import Job
from portkit.verification.judging import NOISES, WITHOUT_EXACT, noise_share
from portkit.verification.pipeline import Pipelines, check_pipeline
from portkit.verification.results import RungResult, Status
from portkit.verification.running import Answers, Model, Pair, RunError

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_SIDES = ("source", "target")
_LOOKING = ("pipeline", "decisions", "accuracy")
_PIPED = 8  # images whose way from pixels to logits is compared


@dataclass(frozen=True, slots=True)
class Images:
    """What the rungs that look at images are given, or why there is nothing to give them."""

    ways: tuple[Way, ...] = ()  # source's and port's
    piped: tuple["Array", ...] = ()  # uint8 [H, W, C]
    dataset: Dataset | None = None
    sample: Sample | None = None
    why_not: str = ""
    usual: Preprocessing | None = (
        None  # the source's documented one: slips are looked for around it
    )

    @property
    def batch(self) -> Batch | None:
        """What the source's preprocessing makes of the images of the pipeline rung."""
        if not self.ways or not self.piped:
            return None
        way = self.ways[0]
        return Batch(
            "preprocessed images", stack([way(image) for image in self.piped], way), own=True
        )


def open_images(job: Job, inputs: Inputs, outputs: int) -> Images | None:
    """Find the images that a job asks for, before any work; raise PortkitError.

    None means that no rung looks at images. `outputs` is the number of classes, 0 where not known.
    """
    if not set(_LOOKING) & set(job.running):
        return None
    asked = job.options.data is not None or any(job.options.preprocess)
    try:
        ways = _find_ways(job, inputs)
    except PortkitError as error:
        if asked:
            raise
        return Images(why_not=error.problems[0].what)
    data, usual = job.options.data, _find_usual(job, inputs)
    if data is None:
        return Images(ways, _shipped(inputs.channels), usual=usual)
    dataset = open_data(data, inputs.channels, outputs)
    sample = draw(dataset.ids, dataset.labels, data)
    piped = tuple(dataset.decode(index) for index in sample.indices[:_PIPED])
    return Images(ways, piped, dataset, sample, usual=usual)


def count_piped(job: Job, inputs: Inputs) -> int:
    """Return how many images the pipeline rung is going to look at."""
    if "pipeline" not in job.running or inputs.features:
        return 0
    return len(load_photos()) if inputs.channels == 3 and job.options.data is None else _PIPED


def _find_ways(job: Job, inputs: Inputs) -> tuple[Way, ...]:
    if inputs.features:
        raise PortkitError.at(str(job.source.endpoint), "the models take features, not images")
    sides = (job.source.endpoint, job.target.endpoint)
    height, width = inputs.sizes[0]
    ways: list[Way] = []
    stated = job.plan.facts.get("input", {})
    for side, text, endpoint in zip(_SIDES, job.options.preprocess, sides, strict=True):
        if text:
            ways.append(load_callable(text, inputs.channels))
        elif height != width:
            fix = "name yours: --preprocess python:MODULE:FUNCTION"
            what = f"no preprocessing is documented for {height}×{width} px"
            raise PortkitError.at(str(endpoint), what, fix)
        else:
            ways.append(
                _as_stated(documented(endpoint, height, inputs.channels), stated.get(side, {}))
            )
    return tuple(ways)


def _find_usual(job: Job, inputs: Inputs) -> Preprocessing | None:
    height, width = inputs.sizes[0]
    if height != width:
        return None
    try:
        return documented(job.source.endpoint, height, inputs.channels)
    except PortkitError:
        return None


def _as_stated(way: Preprocessing, stated: Mapping[str, Any]) -> Preprocessing:
    """Return the documented preprocessing with what the mapping states of a side's images."""
    changes = {key: stated[key] for key in ("mean", "std") if key in stated}
    order = stated.get("channel_order", way.channels)
    if {order, way.channels} == {"RGB", "BGR"}:  # constants that are not stated move along
        moved = {"mean": way.mean[::-1], "std": way.std[::-1], "channels": order}
        changes = {**moved, **changes}
    low, high = stated.get("range", (0.0, way.top))
    if low:  # Preprocessing scales from 0 on: what lies below goes into the mean
        changes["mean"] = tuple(mean - low for mean in changes.get("mean", way.mean))
    return replace(way, top=high - low, **changes)


def _shipped(channels: int) -> tuple["Array", ...]:
    """Return the photographs that ship with portkit, or clothes for models of grey images."""
    if channels == 1:
        clothes = load_fashion().images
        return tuple(image[:, :, None] for image in clothes[:: len(clothes) // _PIPED][:_PIPED])
    return load_photos()


def compare_on_images(
    job: Job, pair: Pair, images: Images, batches: tuple[Batch, ...]
) -> Iterator[RungResult]:
    """Yield the rungs that look at images. `batches` are answered already, in both precisions."""
    wanted = [rung for rung in _LOOKING if rung in job.running]
    why_not = images.why_not or _lack(pair, batches[-1])
    if why_not:
        yield from (RungResult(rung, Status.NOT_APPLICABLE, why_not) for rung in wanted)
        return
    noise, share = _noise(pair, batches)
    if "pipeline" in wanted:
        yield _pipe(job, pair, images, share)
    if images.dataset is None or images.sample is None or wanted == ["pipeline"]:
        return
    modules = pair.source.module(torch.float32), pair.target.module(torch.float32)
    first, second = images.ways
    chosen = images.sample.indices
    seen = see_images(images.dataset, images.sample)
    ours, theirs = answer_both(modules, images.dataset, chosen, (first, second), job.progress)
    if "decisions" in wanted:
        yield check_decisions(ours, theirs, noise, seen)
    if "accuracy" in wanted:
        yield check_accuracy(ours, theirs, seen)


def _pipe(job: Job, pair: Pair, images: Images, share: float) -> RungResult:
    first, second = images.ways
    lines = Pipelines(
        ways=(first, second),
        source=partial(_logits, pair.source, torch.float32),
        port=_complaining(partial(_logits, pair.target, torch.float32)),
        exact=None if pair.inexact else partial(_logits, pair.source, torch.float64),
        share=share,
        adapt=adapt_inputs(job.plan.facts),
    )
    return check_pipeline(images.piped, lines, images.usual, job.options.tolerances)


def _complaining(run: "Callable[[Array], Array]") -> "Callable[[Array], Array]":
    """Turn a model that cannot run into a complaint, as the rung expects it."""

    def complain(batch: "Array") -> "Array":
        try:
            return run(batch)
        except RunError as error:
            raise PortkitError.at("target", str(error)) from error

    return complain


def _logits(model: Model, dtype: torch.dtype, batch: "Array") -> "Array":
    return _only(model.answer(Batch("preprocessed images", batch, own=True), dtype))


def _only(answers: Answers) -> "Array":
    """Return the one output, a score map averaged over its places."""
    (scores,) = answers.values()
    return scores.mean(axis=(2, 3)) if scores.ndim == 4 else scores


def _lack(pair: Pair, batch: Batch) -> str:
    """Say why a source's answers are no logits, if they are not."""
    answers = pair.source.answer(batch, torch.float32)
    if len(answers) != 1:
        return f"the source has the outputs {', '.join(answers)}: logits are one output"
    scores = _only(answers)
    if scores.ndim != 2 or len(scores) != len(batch.images):
        return f"the source answers {list(scores.shape)}, logits are [images, classes]"
    return ""


def _noise(pair: Pair, batches: tuple[Batch, ...]) -> tuple[float, float]:
    """Return the source's float32 error, in logits and as a share of the largest one."""
    usual = [batch for batch in batches if not batch.extreme]
    rounded = [_only(pair.source.answer(batch, torch.float32)) for batch in usual]
    largest = max(float(np.abs(one).max()) for one in rounded)
    if pair.inexact:
        return WITHOUT_EXACT * largest / NOISES, 0.0
    exact = [_only(pair.source.answer(batch, torch.float64)) for batch in usual]
    share = noise_share(zip(rounded, exact, strict=True))
    return share * largest, share
